"""How much of a server a bulk run gets: `python -m bench.bulk`.

The same generated MP3 recordings are asked of one embedded server by turns by perf_analyzer and by `tritone bulk`,
with as many in flight and the response cache off. perf_analyzer has its requests ready in memory; a bulk run reads
each from a file, reads the answer and writes a row. Its rate is that of its rows between two moments of the run,
and its CPU time what its process used between them. Once more they are taken with the cache on, where the server
does next to nothing and the client is what is waited for. Needs the exported weights of the system; writes
bulk.json and bulk.md to bench/results/.
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
WARM = 4 * IN_FLIGHT  # rows before the first moment
DEADLINE = 120.0  # seconds until then
FILES = 100_000  # that the run is told; more than it gets to


@dataclass(frozen=True)
class Scale:
    """How many distinct recordings, rounds, and seconds of each turn."""

    recordings: int
    rounds: int
    seconds: float


FULL, QUICK = Scale(32, 3, 18.0), Scale(8, 2, 3.0)


def main() -> int:
    """Measure. Returns the exit code."""
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
    """The entry `bulk` of the figures.

    Returns
    -------
    system, in_flight, variant, recordings, mb : what was measured; MB of a recording
    perf_analyzer, bulk, cpu_ms : recordings per second, and the bulk run's CPU ms for each, of each round
    cached : bulk and cpu_ms with the cache on (where perf_analyzer finds no figures of the steps, and fails)
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
    """A turn of each."""
    theirs = measure(server, SYSTEM, data, concurrency=IN_FLIGHT, seconds=scale.seconds / WINDOWS)
    rate, cpu = bulk(server.grpc, folder, scale)
    print(f"perf_analyzer {theirs.rate:.1f}/s, tritone bulk {rate:.1f}/s, {cpu:.2f} ms of CPU", file=sys.stderr)
    return {"perf_analyzer": theirs.rate, "bulk": rate, "cpu_ms": cpu}


def bulk(url: str, folder: Path, scale: Scale) -> tuple[float, float]:
    """Rows per second of `tritone bulk` over the recordings in a folder, and its CPU ms for each.

    Raises `BenchError` where it does not run so long.
    """
    out, names = folder / "out.jsonl", folder / "names.txt"
    out.unlink(missing_ok=True)
    # Again and again the same files, each time by a name of its own: //./ leads nowhere.
    steps = (bin(number).removeprefix("0b").replace("1", "/.").replace("0", "/") for number in range(FILES))
    names.write_text("".join(f"{folder}{step}/{i % scale.recordings}.mp3\n" for i, step in enumerate(steps)))
    command: list[str | Path] = [Path(sys.executable).with_name("tritone"), "bulk", names]
    command += ["--out", out, "--url", url]
    command += ["--in-flight", str(IN_FLIGHT)]

    def rows() -> int:
        if process.poll() is not None:
            raise BenchError(
                f"tritone bulk exited with code {process.returncode}: {process.stderr.read().strip()}"
            )
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
