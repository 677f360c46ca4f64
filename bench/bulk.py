"""`python -m bench.bulk`: measures which share of a server's throughput a bulk run reaches.

perf_analyzer and `tritone bulk` alternately send the same generated MP3 recordings to one embedded server, with
the same number of requests in flight and the response cache off. perf_analyzer holds its requests in memory; a
bulk run reads each from a file, parses the answer and writes a row. Its rate and its CPU time are measured between
two moments of the run. A last measurement has the cache on: then the server does almost nothing, and the client is
the limit. Needs the exported network of the system; writes bulk.json and bulk.md to bench/results/.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.__main__ import finish
from bench.errors import BenchError
from bench.perf import WINDOWS, find_perf_analyzer, measure
from bench.perf_input import write_input
from bench.processes import cpu_seconds
from server.embedded import Embedded, embedded
from server.installation import ROOT
from sounds import collection

SYSTEM = "vgg19_bn_cqt"
IN_FLIGHT = 16
OPTIONS = {"top_k": 5}  # as the client sends
WARM = 4 * IN_FLIGHT  # rows before the measurement starts
DEADLINE = 120.0  # seconds, limit for these rows
FILES = 100_000  # length of the run's list of files; more than it can process


@dataclass(frozen=True)
class Scale:
    """Numbers of distinct recordings and rounds, and seconds of each turn."""

    recordings: int
    rounds: int
    seconds: float


FULL, QUICK = Scale(32, 3, 18.0), Scale(8, 2, 3.0)


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.bulk", description=__doc__.splitlines()[0])
    quick = bool(os.environ.get("QUICK"))
    parser.add_argument("--variant", default=os.environ.get("VARIANT", "auto"), help="as in python -m server")
    parser.add_argument("--quick", action="store_true", default=quick, help="finish in under a minute")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="default: %(default)s")
    arguments = parser.parse_args()
    command = "python -m bench.bulk" + (" --quick" if arguments.quick else "")
    scale = QUICK if arguments.quick else FULL
    try:
        find_perf_analyzer()
        finish(lambda: {"bulk": compare(scale, arguments.variant)}, arguments, command)
    except BenchError as error:
        print(f"bench.bulk: {error}", file=sys.stderr)
        return 2
    return 0


def compare(scale: Scale, variant: str) -> dict:
    """Measure the entry `bulk` of the figures.

    Returns
    -------
    system, in_flight, variant, recordings, mb : what was measured; size of a recording in MB
    perf_analyzer, bulk, cpu_ms : recordings per second, and CPU ms of the bulk run per recording, for each round
    cached : bulk and cpu_ms with the cache on (perf_analyzer fails then, because the steps have no statistics)
    """
    songs = collection(scale.recordings)
    with tempfile.TemporaryDirectory(prefix="tritone-bench-") as name:
        folder = Path(name)
        data = write_input(folder / "data.json", songs, OPTIONS)
        for i, song in enumerate(songs):
            (folder / f"{i}.mp3").write_bytes(song)
        system = f"--systems={SYSTEM}"
        with embedded(system, f"--variant={variant}", "--cache-size=0", log=folder / "log.txt") as server:
            rounds = [turns(server, scale, data, folder) for _ in range(scale.rounds)]
        with embedded(system, f"--variant={variant}", log=folder / "log.txt") as server:
            rate, cpu = bulk(server.grpc, folder, scale)
    return {
        **{"system": SYSTEM, "in_flight": IN_FLIGHT, "variant": server.variant},
        **{"recordings": len(songs), "mb": sum(map(len, songs)) / len(songs) / 1e6},
        **{name: [each[name] for each in rounds] for name in rounds[0]},
        "cached": {"bulk": rate, "cpu_ms": cpu},
    }


def turns(server: Embedded, scale: Scale, data: Path, folder: Path) -> dict[str, float]:
    """Measure perf_analyzer and a bulk run once each."""
    theirs = measure(server, SYSTEM, data, concurrency=IN_FLIGHT, seconds=scale.seconds / WINDOWS)
    rate, cpu = bulk(server.grpc, folder, scale)
    print(f"perf_analyzer {theirs.rate:.1f}/s, tritone bulk {rate:.1f}/s, {cpu:.2f} ms of CPU", file=sys.stderr)
    return {"perf_analyzer": theirs.rate, "bulk": rate, "cpu_ms": cpu}


def bulk(url: str, folder: Path, scale: Scale) -> tuple[float, float]:
    """Run `tritone bulk` over the recordings in a folder; return rows per second and CPU ms per row.

    Raises `BenchError` if it exits too early.
    """
    out, names = folder / "out.jsonl", folder / "names.txt"
    out.unlink(missing_ok=True)
    # The same files repeatedly, each time under another name: /. and // do not change a path.
    steps = (bin(number).removeprefix("0b").replace("1", "/.").replace("0", "/") for number in range(FILES))
    names.write_text("".join(f"{folder}{step}/{i % scale.recordings}.mp3\n" for i, step in enumerate(steps)))
    command: list[str | Path] = [Path(sys.executable).with_name("tritone"), "bulk", names]
    command += ["--out", out, "--url", url]
    command += ["--in-flight", str(IN_FLIGHT)]

    def rows() -> int:
        if process.poll() is not None:
            message = process.stderr.read().strip() if process.stderr else ""
            raise BenchError(f"tritone bulk exited with code {process.returncode}: {message}")
        return out.read_bytes().count(b"\n") if out.exists() else 0

    def now() -> tuple[int, float, float]:
        return rows(), time.perf_counter(), cpu_seconds(process.pid)

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + DEADLINE
            while rows() < WARM:
                if time.monotonic() > deadline:
                    raise BenchError(f"tritone bulk wrote fewer than {WARM} rows in {DEADLINE:g} s")
                time.sleep(0.05)
            before = now()
            time.sleep(scale.seconds)
            after = now()
        finally:
            process.kill()
    files, seconds, cpu = (b - a for a, b in zip(before, after, strict=True))
    return files / seconds, cpu / max(files, 1) * 1e3


if __name__ == "__main__":
    sys.exit(main())
