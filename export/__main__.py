"""`python -m export`: weights -> model_repository/."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from export import repository
from export.command import ROOT, Parser, run
from export.errors import ExportError
from export.hub import check_revision
from export.sources import Demo, Directory, Hub, Log, Source
from systems import SYSTEMS, System

DEMO = ROOT / "checkpoints" / "demo"
RELEASED = "released"


def _parser() -> Parser:
    parser = Parser(
        "python -m export",
        "Turn weights into the networks that Triton loads. Without a flag for the weights: the folder in the"
        " environment variable CHECKPOINTS if it is set, else what was exported before, else demo weights.",
        tuple(SYSTEMS),
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="weights in DIR/<system>/{save,model}.{pt,pth,safetensors} or DIR/<system>.{pt,pth,safetensors};"
        " DIR/<system>/labels.json names the classes of weights that have others than the released ones",
    )
    weights.add_argument(
        "--hub",
        nargs="?",
        const=RELEASED,
        metavar="NAME",
        help="weights from a repository of the Hugging Face hub, by default the one where the system's were"
        " released; needs --revision",
    )
    weights.add_argument(
        "--demo", action="store_true", help="weights made here, which know kinds of generated sound only"
    )
    parser.add_argument("--revision", metavar="SHA", help="commit of the hub's repository, 40 hexadecimal digits")
    return parser


def _source(args: argparse.Namespace) -> Source | None:
    """Where the weights come from; None where nobody says, and what is there may stay."""
    if args.revision is not None and not args.hub:
        raise ExportError("--revision belongs to --hub")
    if args.hub:
        revision = check_revision(args.revision)
        return Hub(_hub_repository(args), revision)
    folder = args.checkpoints or (None if args.demo else os.environ.get("CHECKPOINTS"))
    if folder:
        return Directory(Path(folder))
    return Demo(DEMO) if args.demo else None


def _hub_repository(args: argparse.Namespace) -> str:
    """The one repository that the revision belongs to."""
    if args.hub != RELEASED:
        if "/" not in args.hub:
            raise ExportError(f"--hub takes a repository as owner/name, not {args.hub!r}; systems stand before it")
        return args.hub
    homes = {name: SYSTEMS[name].released.repository for name in args.systems or SYSTEMS}
    if len(set(homes.values())) > 1:
        raise ExportError(
            "--revision is a commit of one repository, but "
            + ", ".join(f"{name} is in {home}" for name, home in homes.items())
            + "; name the systems of one before --hub"
        )
    return next(iter(homes.values()))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns 0, or 2 after an error that the user can mend."""
    args = _parser().parse_args(arguments)
    try:
        source = _source(args)
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2

    def work(system: System, log: Log) -> bool:
        if source is None and (origin := repository.own_weights(args.repository, system.name)):
            log(f"nothing to do: it has weights of your own ({origin}); --demo replaces them by demo weights")
            return False
        return repository.export(system, source or Demo(DEMO), args.repository, force=args.force, log=log)

    left = "what was there before is still there, or nothing"
    return run("export", args.systems or tuple(SYSTEMS), work, left)


if __name__ == "__main__":
    sys.exit(main())
