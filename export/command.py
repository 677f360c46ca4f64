"""What the commands of this package share: arguments refused in one line, systems done one by one, exit codes."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from export.errors import ExportError
from export.sources import Log
from systems import SYSTEMS, System

ROOT = Path(__file__).resolve().parent.parent


class Parser(argparse.ArgumentParser):
    """Arguments of a command that works on the systems of a model repository."""

    def __init__(self, prog: str, description: str, systems: Sequence[str]) -> None:
        super().__init__(prog=prog, description=description)
        known = ", ".join(systems)

        def system(name: str) -> str:
            if name not in systems:
                raise argparse.ArgumentTypeError(f"no system {name} here; choose from {known}")
            return name

        self.add_argument("systems", nargs="*", type=system, metavar="SYSTEM", help=f"default: all of {known}")
        self.add_argument("--force", action="store_true", help="make also what is up to date")
        self.add_argument(
            "--repository",
            type=Path,
            default=ROOT / "model_repository",
            metavar="DIR",
            help="where the models are",
        )

    def error(self, message: str) -> NoReturn:
        """One line, as for every other error; the usage is in --help."""
        self.exit(2, f"{self.prog}: {message}\n")


def run(command: str, systems: Sequence[str], work: Callable[[System, Log], bool], left: str) -> int:
    """Do the work for each system; the exit code: 0, 2 where one failed, 130 after Ctrl-C.

    What one system lacks keeps no other from being made.

    Parameters
    ----------
    command : what its errors begin with
    systems : names
    work : False where there was nothing to do
    left : what an interrupted command leaves behind
    """
    code = 0
    for name in systems:
        start = time.monotonic()

        def log(message: str, name: str = name, start: float = start) -> None:
            print(f"{name} {time.monotonic() - start:5.1f} s  {message}", flush=True)

        try:
            if work(SYSTEMS[name], log):
                log("done")
        except ExportError as error:
            print(f"{command}: {error}", file=sys.stderr)
            code = 2
        except PermissionError as error:
            who = f"user {os.getuid()}, group {os.getgid()}"
            print(
                f"{command}: {error.filename} may not be written by {who}; give it to them, or run as who may"
                " (docker compose: TRITONE_UID and TRITONE_GID)",
                file=sys.stderr,
            )
            code = 2
        except KeyboardInterrupt:
            print(f"{command}: interrupted; {left}", file=sys.stderr)
            return 130
    return code
