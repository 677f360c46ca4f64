"""`make bench`: perf_analyzer against the embedded server with 30 s stereo MP3s, at concurrency 1, 4 and 8.

Prints a table and keeps the raw CSV of perf_analyzer and a summary.json in bench/results/.

The recordings are distinct and the response cache is off: every request is work.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

from bench.embedded import ROOT, Embedded, embedded
from bench.perf_input import write_input
from bench.recordings import recording

MODEL = "vgg19_bn_cqt"
CONCURRENCY = (1, 4, 8)
N_RECORDINGS = 16
COLUMNS = {
    "recordings/s": ("Inferences/Second", 1),
    "p50 ms": ("p50 latency", 1e-3),
    "p95 ms": ("p95 latency", 1e-3),
    "p99 ms": ("p99 latency", 1e-3),
}


def main() -> int:
    """Run the sweep. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MODEL, help="the system to measure (default: %(default)s)")
    parser.add_argument(
        "--variant",
        default=os.environ.get("VARIANT", "auto"),
        help="as in python -m server (default: %(default)s)",
    )
    parser.add_argument(
        "--profile",
        nargs="+",
        default=["ccmusic", "article-a"],
        help="preprocessing profiles to measure (default: %(default)s)",
    )
    parser.add_argument(
        "--quick", action="store_true", default=bool(os.environ.get("QUICK")), help="shorter, less exact"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=ROOT / "bench" / "results",
        help="folder for the figures (default: %(default)s)",
    )
    arguments = parser.parse_args()
    tool = find_perf_analyzer()
    if isinstance(tool, str):
        print(f"bench: {tool}", file=sys.stderr)
        return 2
    results = arguments.results
    results.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="tritone-bench-") as folder,
        embedded(f"--systems={arguments.model}", f"--variant={arguments.variant}", "--cache-size=0") as server,
    ):
        songs = [recording(k % 16, seed=1000 + k) for k in range(N_RECORDINGS)]
        rows = []
        for profile in arguments.profile:
            data = write_input(Path(folder) / f"{profile}.json", songs, {"profile": profile})
            raw = results / f"{arguments.model}-{server.variant}-{profile}.csv"
            rows += sweep(tool, server, arguments.model, profile, data, raw, arguments.quick)
    summary = {
        "command": "python -m bench " + " ".join(sys.argv[1:]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "model": arguments.model,
        "variant": server.variant,
        "rows": rows,
    }
    (results / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(table(rows))
    print(f"\n{summary['machine']}; {arguments.model}, {server.variant}; raw figures in {results}")
    return 0


def sweep(
    tool: list[str], server: Embedded, model: str, profile: str, data: Path, raw: Path, quick: bool
) -> list[dict]:
    """Run perf_analyzer at each concurrency; one row each, its own CSV kept at `raw`."""
    rows = []
    raw.unlink(missing_ok=True)
    for concurrency in CONCURRENCY:
        part = data.with_suffix(f".{concurrency}.csv")
        command = [*tool, "-m", model, "-i", "grpc", "-u", server.grpc, "--input-data", str(data)]
        command += ["--shape", "AUDIO:1", "--shape", "OPTIONS:1"]
        command += ["--concurrency-range", f"{concurrency}", "-f", str(part), "--verbose-csv"]
        # Three windows whatever they measure: on a shared machine perf_analyzer may never find them stable.
        command += ["--measurement-interval", "3000" if quick else "8000", "--stability-percentage", "999"]
        command += ["--percentile", "95"]
        print(f"{model}, {profile}, concurrency {concurrency} ...", flush=True)
        before = batch_counts(server, f"{model}_network")
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode or not part.exists():
            raise RuntimeError(f"perf_analyzer failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        after = batch_counts(server, f"{model}_network")
        with part.open() as file:
            measured = next(csv.DictReader(file))
        with raw.open("a") as file:
            text = part.read_text()
            file.write(text if concurrency == CONCURRENCY[0] else text.split("\n", 1)[1])
        row = {"profile": profile, "concurrency": concurrency}
        row |= {name: round(float(measured[column]) * unit, 1) for name, (column, unit) in COLUMNS.items()}
        row["mean batch"] = round((after[0] - before[0]) / max(after[1] - before[1], 1), 1)
        rows.append(row)
    return rows


def find_perf_analyzer() -> list[str] | str:
    """The command that runs perf_analyzer, or one line that says what is missing.

    The wheel of tritonclient 2.51.0 holds the program; it needs libcudart.so.12, of another wheel, even
    without a GPU, and Debian's libb64.
    """
    tool = Path(sys.executable).with_name("perf_analyzer")
    if not tool.exists():
        return "perf_analyzer is missing: it is part of tritonclient 2.51.0 (requirements/client.txt)"
    cuda = next(Path(sys.prefix).glob("lib/python3*/site-packages/nvidia/cuda_runtime/lib"), None)
    if cuda is None:
        return "perf_analyzer needs libcudart.so.12: pip install -r requirements/bench.txt"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(cuda)}
    missing = subprocess.run([shutil.which("ldd") or "ldd", tool], env=environment, capture_output=True, text=True)
    absent = [line.split()[0] for line in missing.stdout.splitlines() if "not found" in line]
    if absent:
        return f"perf_analyzer needs {', '.join(absent)}: sudo apt-get install libb64-0d"
    return ["env", f"LD_LIBRARY_PATH={cuda}", str(tool)]


def batch_counts(server: Embedded, model: str) -> tuple[int, int]:
    """Rows and executions of a model so far, from Triton's statistics."""
    with urllib.request.urlopen(f"http://{server.http}/v2/models/{model}/stats") as answer:
        statistics = json.load(answer)["model_stats"][0]
    return int(statistics["inference_count"]), int(statistics["execution_count"])


def machine() -> str:
    """Processor and cores, for the figures' caption."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    matrix = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return (
        f"{name}, {os.cpu_count()} cores, {' '.join(matrix) or 'no bfloat16'}, Python {platform.python_version()}"
    )


def table(rows: list[dict]) -> str:
    """Rows as a Markdown table."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *[[str(row[name]) for name in names] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"bench: {error}")
