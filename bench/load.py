"""`make load`: measures a running server with perf_analyzer, Triton's own tool.

    python -m bench.load examples/song.mp3 --system vgg19_bn_cqt --concurrency 1:4

writes the input data to `.cache/load.json`, and prints and runs the command that measures, with the libraries that
perf_analyzer needs. The data stays, so that the command can be copied and varied.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from bench.errors import BenchError
from bench.perf import find_perf_analyzer
from bench.perf_input import write_input

DATA = Path(".cache/load.json")
WINDOW_MS = 5000
CACHED = (
    "The server answers a recording that it knows from its response cache. To measure the work instead, start it "
    "with TRITONE_CACHE_SIZE=0 make serve."
)


def main(arguments: list[str] | None = None) -> int:
    """Run perf_analyzer; return its exit code, or 2 if it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__.splitlines()[0])
    parser.add_argument("recordings", nargs="+", type=Path, metavar="FILE", help="recordings to send in turn")
    parser.add_argument("--system", default="vgg19_bn_cqt", help="system to ask (default: %(default)s)")
    parser.add_argument(
        "--url", default="127.0.0.1:8001", help="gRPC address of the server (default: %(default)s)"
    )
    parser.add_argument(
        "--concurrency",
        default="1:4",
        metavar="FROM[:TO[:STEP]]",
        help="requests in flight, one measurement for each number (default: %(default)s)",
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="FILE", help="input data (default: %(default)s)"
    )
    flags = parser.parse_args(arguments)
    try:
        flags.data.parent.mkdir(parents=True, exist_ok=True)
        write_input(flags.data, [path.read_bytes() for path in flags.recordings], None)
        command = perf_command(flags.system, flags.url.rpartition("//")[2], flags.concurrency, flags.data)
    except (BenchError, OSError) as error:
        print(f"bench.load: {error}", file=sys.stderr)
        return 2
    print(f"$ {shlex.join(command)}", flush=True)
    code = subprocess.run(command).returncode
    print(CACHED)
    return code


def perf_command(system: str, address: str, concurrency: str, data: Path) -> list[str]:
    """Return the command that measures a system.

    Parameters
    ----------
    address : host:port of the server's gRPC
    concurrency : a range of perf_analyzer
    data : file of `perf_input.write_input`
    """
    return [
        *find_perf_analyzer(),
        *("-m", system, "-i", "grpc", "-u", address, "--input-data", str(data), "--shape", "AUDIO:1"),
        *("--concurrency-range", concurrency, "--measurement-interval", str(WINDOW_MS), "--percentile", "95"),
        *("--stability-percentage", "999"),  # three windows: on a shared machine results may never be stable
    ]


if __name__ == "__main__":
    sys.exit(main())
