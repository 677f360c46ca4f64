"""`python -m bench.gpu_check`: see docs/operations.md, "Check a GPU machine"."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from bench.baselines import BaselineError
from bench.errors import BenchError
from bench.gpu_check.check import Check
from bench.gpu_check.run import Results, run
from bench.gpu_check.stages import OURS, figures, stages
from server.installation import ROOT

WORK = ROOT / ".gpu_check"


def main() -> int:
    """Run the command. Returns 0, 1 where a stage failed, or 2 where nothing could be done."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check", description="Check a GPU machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    prepares = commands.add_parser("prepare", help="collect what a GPU machine without a network lacks, elsewhere")
    prepares.add_argument("--python", default="3.12", help="the machine's Python (default: %(default)s)")
    prepares.add_argument("--mib", type=int, default=60, help="size of a piece at most (default: %(default)s)")
    prepares.add_argument(
        "--there",
        nargs="*",
        default=(),
        metavar="PACKAGE",
        help="packages of that machine that do in any version, beside PyTorch's",
    )
    runs = commands.add_parser("run", help="go through the stages, on the GPU machine")
    runs.add_argument("stages", nargs="*", metavar="STAGE", help="only these (default: all)")
    runs.add_argument("--seconds", type=float, default=3600, help="for all together (default: %(default)s)")
    runs.add_argument(
        "--out",
        type=Path,
        default=Path(os.environ.get("OUT") or WORK / "results"),
        metavar="DIR",
        help="for summary.txt and logs.tar.gz (default: $OUT, or .gpu_check/results)",
    )
    runs.add_argument("--logs", type=Path, default=WORK / "logs", metavar="DIR", help="default: .gpu_check/logs")
    Check.add_flags(runs)
    for name in OURS:
        Check.add_flags(commands.add_parser(name, help="a stage by itself; prints its figures as JSON"))
    arguments = parser.parse_args()
    try:
        if arguments.command == "prepare":
            return collect(arguments)
        check = Check.of(arguments)
        if arguments.command in OURS:
            print(json.dumps(figures(arguments.command, check)))
            return 0
    except (BenchError, BaselineError, RuntimeError) as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 2
    arguments.logs.mkdir(parents=True, exist_ok=True)
    everything = stages(check, arguments.logs)
    known = [stage.name for stage in everything]
    if unknown := [name for name in arguments.stages if name not in known]:
        parser.error(f"there is no stage {unknown[0]!r}, only {', '.join(known)}")
    chosen = [stage for stage in everything if not arguments.stages or stage.name in arguments.stages]
    failed = run(check, chosen, Results(arguments.out, arguments.logs), arguments.logs, arguments.seconds)
    return 1 if failed else 0


def collect(arguments: argparse.Namespace) -> int:
    """Make the pieces, and say what to do with them."""
    from bench.gpu_check.prepare import MIB, prepare  # what it imports, a GPU machine lacks

    pieces = prepare(WORK, arguments.python, arguments.mib, arguments.there)
    for piece in pieces:
        size = sum(file.stat().st_size for file in piece.iterdir())
        print(f"{piece.relative_to(ROOT)}: {size / MIB:.1f} MiB")
    print("There, in the project's folder, once all of them have come: bash bench/gpu_check/install.sh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
