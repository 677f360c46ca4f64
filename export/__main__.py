"""`python -m export`: weights -> ONNX in model_repository/; `python -m export fp16 ...`: derived networks."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from export import repository
from export.command import ROOT, Parser, run
from export.errors import ExportError
from export.files import load
from export.hub import check_revision
from export.sources import Demo, Directory, File, Hub, Installed, Log, Source
from systems import SYSTEMS, System
from systems.label_set import LabelSet, read_labels
from systems.own import COMMANDS, check_name, own_system
from systems.system import Checkpoint, Package

DEMO = ROOT / "checkpoints" / "demo"
PACKAGES = ROOT / "checkpoints" / "packages"
RELEASED = "released"


def _parser() -> Parser:
    parser = Parser(
        "",
        "Convert weights to the networks that Triton loads. Without a flag that names the weights, they come from "
        "the folder in the environment variable CHECKPOINTS if it is set; otherwise your earlier export is kept, "
        "the systems of musicnn get the weights of that package, and the others get demo weights.",
        epilog=f"Commands: {', '.join(COMMANDS)}. For example: python -m export fp16 --help.",
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="weights in DIR/<system>/{save,model}.{pt,pth,safetensors} or DIR/<system>.{pt,pth,safetensors};"
        " DIR/<system>/labels.json names the classes if they differ from those of the released weights",
    )
    weights.add_argument(
        "--hub",
        nargs="?",
        const=RELEASED,
        metavar="NAME",
        help="weights from a repository on the Hugging Face hub (default: that of the system's released weights);"
        " needs --revision",
    )
    weights.add_argument(
        "--demo",
        action="store_true",
        help="demo weights, generated here: they distinguish kinds of synthetic sound",
    )
    weights.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="your own weights for the one SYSTEM: a file, or a folder with {save,model}.{pt,pth,safetensors} and"
        " optionally labels.json",
    )
    parser.add_argument("--revision", metavar="SHA", help="commit of the hub's repository, 40 hexadecimal digits")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="with --hub: after the export, classify the example recordings in the hub's repository",
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="with --checkpoint: its classes, one per line, or as JSON"
    )
    parser.add_argument(
        "--name", help="with --checkpoint: serve the weights as a system of this name, beside SYSTEM"
    )
    return parser


def _source(args: argparse.Namespace) -> Source | None:
    """Return the source that the flags or the environment name; None: an earlier export may stay."""
    if args.revision is not None and not args.hub:
        raise ExportError("--revision needs --hub")
    if args.verify and not args.hub:
        raise ExportError("--verify needs --hub: the example recordings are in the hub's repository")
    if (args.labels or args.name) and not args.checkpoint:
        raise ExportError("--labels and --name need --checkpoint")
    if args.checkpoint:
        return File(args.checkpoint)
    if args.hub:
        revision = check_revision(args.revision)
        return Hub(_hub_repository(args), revision)
    folder = args.checkpoints or (None if args.demo else os.environ.get("CHECKPOINTS"))
    if folder:
        return Directory(Path(folder))
    if args.demo and (own := [system.name for system in args.systems if system.is_own]):
        raise ExportError(f"there are no demo weights for {', '.join(own)}: name yours with --checkpoint")
    if args.demo and (trained := [system.name for system in args.systems if _is_packaged(system)]):
        raise ExportError(f"there are no demo weights for {', '.join(trained)}: trained weights are installed")
    return Demo(DEMO) if args.demo else None


def _is_packaged(system: System) -> bool:
    """Return whether the system's trained weights are in a package that the export installs."""
    return isinstance(system.released, Package)


def _for(system: System, source: Source | None) -> Source:
    """Return the source of one system's weights; a folder may lack weights that a package contains."""
    if _is_packaged(system) and (source is None or (isinstance(source, Directory) and not source.find(system))):
        return Installed(PACKAGES)
    return source or Demo(DEMO)


def _hub_repository(args: argparse.Namespace) -> str:
    """Return the hub repository of all systems; the revision is a commit of it."""
    if unreleased := [system.name for system in args.systems if not isinstance(system.released, Checkpoint)]:
        raise ExportError(f"no repository of the hub has the weights of {', '.join(unreleased)}")
    if args.hub != RELEASED:
        if "/" not in args.hub:
            raise ExportError(
                f"--hub takes a repository as owner/name, not {args.hub!r}; write the systems before --hub"
            )
        return args.hub
    homes = {s.name: s.released.repository for s in _chosen(args) if isinstance(s.released, Checkpoint)}
    if len(set(homes.values())) > 1:
        raise ExportError(
            "--revision is a commit of one repository, but "
            + ", ".join(f"{name} is in {home}" for name, home in homes.items())
            + "; name only systems of one repository, before --hub"
        )
    return next(iter(homes.values()))


def _chosen(args: argparse.Namespace) -> list[System]:
    """Return the systems to export: the named ones, or all default systems that the source has weights for."""
    elsewhere = _is_packaged if args.hub or args.demo else lambda _: False
    return args.systems or [each for each in SYSTEMS.values() if each.by_default and not elsewhere(each)]


def _own(args: argparse.Namespace) -> list[System]:
    """Return the system of --checkpoint, with the given name and classes, if any.

    Raises
    ------
    ExportError
        If more or less than one system is named, the name cannot be used, or the labels cannot be read.
    """
    if len(args.systems) != 1:
        raise ExportError("--checkpoint needs the one system that it is like, for example vgg19_bn_cqt")
    [system] = args.systems
    try:
        labels = _labels(args) or system.labels
        if not args.name:
            if not system.is_own and len(labels) != len(system.labels):
                raise ExportError(
                    f"{system.name} has {len(system.labels)} classes, the labels name {len(labels)}: add --name"
                )
            return [replace(system, labels=labels)]
        if system.declared_in:
            raise ExportError(
                f"{system.declared_in} names its system {system.name}: change it there, not by --name"
            )
        check_name(args.name, SYSTEMS)
    except ValueError as error:  # about the labels, the name, or their combination with a declaration
        raise ExportError(str(error)) from error
    like, present = SYSTEMS[system.like or system.name], args.known.get(args.name)
    if present and present.like != like.name:
        raise ExportError(
            f"{args.name} exists already and is like {present.like}: choose another --name, or remove it"
        )
    return [own_system(like, args.name, labels)]


def _labels(args: argparse.Namespace) -> LabelSet | None:
    beside = args.checkpoint / "labels.json"
    if args.labels or beside.is_file():
        return read_labels(args.labels or beside)
    return None


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 after an error that the user can fix."""
    words = sys.argv[1:] if arguments is None else arguments
    kind, words = (words[0], words[1:]) if words and words[0] in COMMANDS else (COMMANDS[0], words)
    if kind != COMMANDS[0]:
        return load(f"export.{kind}:main")(words)
    args = _parser().parse_args(words)
    try:
        source = _source(args)
        systems = _own(args) if args.checkpoint else _chosen(args)
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2

    def work(system: System, log: Log) -> bool:
        if source is None and repository.keep_user_weights(system, args.repository, log):
            return False
        if source is None and system.is_own:
            raise ExportError(f"there are no demo weights for {system.name}: name yours with --checkpoint")
        if not system.architecture.module:
            raise ExportError(f"{system.name} is declared in {system.declared_in}: name that file instead")
        return repository.export(system, _for(system, source), args.repository, force=args.force, log=log)

    left = "the last network is either the former one or missing"
    code = run("export", systems, work, left)
    if args.verify and isinstance(source, Hub) and code == 0:
        from export.verify import verify_all  # ONNX Runtime: a second to import, and not needed otherwise

        return verify_all(systems, source, args.repository)
    return code


if __name__ == "__main__":
    sys.exit(main())
