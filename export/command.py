"""Common parts of the export commands: arguments, the loop over the systems, error messages and exit codes."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from export.errors import ExportError
from export.sources import Log
from systems import SYSTEMS, System
from systems.own import COMMANDS, UnusableDeclaration, UnusableName, check_name, read_declaration
from systems.repository import Repository

ROOT = Path(__file__).resolve().parent.parent
SILENCE_SECONDS = 5.0


class Parser(argparse.ArgumentParser):
    """Parser of a command that works on systems of a model repository.

    `parse_args` returns the named systems as `System`s in `systems`, and all known ones in `known`.

    Parameters
    ----------
    name : name of the command, as in `python -m export NAME`; empty for `python -m export` itself
    """

    def __init__(self, name: str, description: str, **more: Any) -> None:
        super().__init__(prog=f"python -m export {name}".rstrip(), description=description, **more)
        self.add_argument(
            "systems",
            nargs="*",
            metavar="SYSTEM",
            help="name of a system, or a Python file that declares one; default: all that the command supports",
        )
        self.add_argument("--force", action="store_true", help="rebuild networks that are up to date, too")
        default = ROOT / "model_repository"
        self.add_argument("--repository", type=Path, default=default, metavar="DIR", help="folder of the models")

    def add_rows(self, default: int, least: int, shown: str) -> None:
        """Add --rows, the rows for the comparison of two networks; fewer than `least` cannot show `shown`."""

        def rows(text: str) -> int:
            if int(text) < least:
                raise argparse.ArgumentTypeError(f"{text} rows cannot show {shown}; use at least {least}")
            return int(text)

        about = f"generated rows for the comparison with float32; default {default}"
        self.add_argument("--rows", type=rows, default=default, metavar="N", help=about)

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Read the arguments; exits where a system is not known."""
        found = super().parse_args(None if args is None else list(args), namespace)
        found.known = Repository(found.repository).known(SYSTEMS)
        found.systems = [self._system(name, found.known) for name in found.systems]
        return found

    def _system(self, name: str, known: dict[str, System]) -> System:
        if name in COMMANDS:
            self.error(f"{name} is a command and must come first: python -m export {name} SYSTEM ...")
        if not name.endswith(".py"):
            if name not in known:
                self.error(f"argument SYSTEM: there is no system {name}; choose from {', '.join(known)}")
            return known[name]
        try:
            system = read_declaration(Path(name))
            check_name(system.name, SYSTEMS)
        except (UnusableDeclaration, UnusableName) as error:
            self.error(str(error))
        return system

    def error(self, message: str) -> NoReturn:
        """Print one line, as for every other error, and exit; --help shows the usage."""
        self.exit(2, f"{self.prog}: {message}\n")

    def choose(self, args: argparse.Namespace, command: str, lack: str = "") -> list[System]:
        """Return the named systems, or all that the command supports; exit if it does not support a named one.

        Parameters
        ----------
        command : name of the command, for `System.can`
        lack : why the command does not support a system: "has no INT8 network"
        """
        able = [system for system in args.known.values() if system.can(command)]
        for system in args.systems:
            if not system.can(command):
                self.error(f"{system.name} {lack}; choose from {', '.join(names(able))}")
        return args.systems or [system for system in able if system.by_default]


class Progress:
    """Prints what is being done, with the seconds since the beginning; repeats it while nothing else is printed.

    Parameters
    ----------
    name : name of the system
    silence : seconds after which the last message is repeated
    """

    def __init__(self, name: str, silence: float = SILENCE_SECONDS) -> None:
        self._name = name
        self._silence = silence
        self._start = time.monotonic()
        self._message = "starting"
        self._said, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __call__(self, message: str) -> None:
        """Print a message."""
        self._message = message
        self._said.set()
        self._print(message)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._said.set()
        self._thread.join()

    def _repeat(self) -> None:
        while not self._ended:
            if not self._said.wait(self._silence):
                self._print(f"still {self._message}")
            self._said.clear()

    def _print(self, text: str) -> None:
        text = text.replace(f"{Path.cwd()}/", "")  # a long folder would wrap the line
        print(f"{self._name} {time.monotonic() - self._start:5.1f} s  {text}", flush=True)


def names(systems: Iterable[System]) -> list[str]:
    """Return the names of systems."""
    return [system.name for system in systems]


def run(command: str, systems: Sequence[System], work: Callable[[System, Log], bool], left: str) -> int:
    """Do the work for each system; return the exit code: 0, 2 if one failed, 130 after Ctrl-C.

    An error in one system does not affect the others.

    Parameters
    ----------
    command : prefix of error messages
    systems : the systems, in this order
    work : function of a system and a log; returns False if there was nothing to do
    left : state after an interruption, for its message
    """
    code = 0
    for system in systems:
        try:
            with Progress(system.name) as log:
                if work(system, log):
                    log("done")
        except ExportError as error:
            print(f"{command}: {error}", file=sys.stderr)
            code = 2
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            print(
                f"{command}: {system.name} needs PyTorch, which is not installed: make export installs it",
                file=sys.stderr,
            )
            code = 2
        except PermissionError as error:
            who = f"user {os.getuid()}, group {os.getgid()}"
            print(
                f"{command}: {who} may not write {error.filename}; change its owner, or run as its owner"
                " (docker compose: TRITONE_UID and TRITONE_GID)",
                file=sys.stderr,
            )
            code = 2
        except KeyboardInterrupt:
            print(f"{command}: interrupted; {left}", file=sys.stderr)
            return 130
    return code


def moved(name: str) -> int:
    """Print the command that replaces `python -m export.<name>`; return the exit code."""
    now = shlex.join(["python", "-m", "export", name, *sys.argv[1:]])
    print(f"export: the command python -m export.{name} has moved, type: {now}", file=sys.stderr)
    return 2
