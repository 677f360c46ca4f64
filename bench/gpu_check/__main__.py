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
    """Run the command; return 0, 1 if a stage failed, or 2 if the check could not run."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check", description="Check a GPU machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    prepares = commands.add_parser(
        "prepare", help="on a machine with a network: collect what the GPU machine needs"
    )
    prepares.add_argument(
        "--python", default="3.12", help="Python version of the GPU machine (default: %(default)s)"
    )
    prepares.add_argument(
        "--mib", type=int, default=60, help="largest size of a piece in MiB (default: %(default)s)"
    )
    prepares.add_argument(
        "--there",
        nargs="*",
        default=(),
        metavar="PACKAGE",
        help="further packages (besides PyTorch's) that the GPU machine has in any version",
    )
    runs = commands.add_parser("run", help="on the GPU machine: run the stages")
    runs.add_argument("stages", nargs="*", metavar="STAGE", help="stages to run (default: all)")
    runs.add_argument(
        "--seconds", type=float, default=3600, help="time limit of all stages (default: %(default)s)"
    )
    runs.add_argument(
        "--out",
        type=Path,
        default=Path(os.environ.get("OUT") or WORK / "results"),
        metavar="DIR",
        help="folder for summary.txt and logs.tar.gz (default: $OUT, or .gpu_check/results)",
    )
    runs.add_argument("--logs", type=Path, default=WORK / "logs", metavar="DIR", help="default: .gpu_check/logs")
    Check.add_flags(runs)
    for name in OURS:
        Check.add_flags(commands.add_parser(name, help="run this stage and print its figures as JSON"))
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
        parser.error(f"there is no stage {unknown[0]!r}; choose from {', '.join(known)}")
    chosen = [stage for stage in everything if not arguments.stages or stage.name in arguments.stages]
    failed = run(check, chosen, Results(arguments.out, arguments.logs), arguments.logs, arguments.seconds)
    return 1 if failed else 0


def collect(arguments: argparse.Namespace) -> int:
    """Make the pieces, and print what to do with them."""
    from bench.gpu_check.prepare import MIB, prepare  # imports packages that a GPU machine may lack

    pieces = prepare(WORK, arguments.python, arguments.mib, arguments.there)
    for piece in pieces:
        size = sum(file.stat().st_size for file in piece.iterdir())
        print(f"{piece.relative_to(ROOT)}: {size / MIB:.1f} MiB")
    print("Copy the pieces to the GPU machine, then run in the project's folder: bash bench/gpu_check/install.sh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
