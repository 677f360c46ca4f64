"""`python -m systems`: writes model_repository/ and the client's version from the declarations.

With --check, it only compares.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from systems import SYSTEMS, System
from systems.configurations import files
from systems.repository import Repository
from systems.version import client_module

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = ROOT / "model_repository"
CLIENT_VERSION = ROOT / "client" / "tritone_client" / "version.py"


def write(system: System, repository: Path) -> list[Path]:
    """Update the files of a system in a repository, and return the written ones."""
    return write_files(declared_files(system, repository))


def stale(system: System, repository: Path) -> list[Path]:
    """Return the files of a system that differ from its declaration."""
    return stale_files(declared_files(system, repository))


def declared_files(system: System, repository: Path) -> dict[Path, bytes]:
    """Return path and content of the files of a system in a repository."""
    return {repository / name: content for name, content in files(system)}


def write_files(declared: Mapping[Path, bytes]) -> list[Path]:
    """Write the files that differ from their declaration, and return their paths."""
    changed = stale_files(declared)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(declared[path])
    return changed


def stale_files(declared: Mapping[Path, bytes]) -> list[Path]:
    """Return the paths of files that are missing or differ from their declaration."""
    return [path for path, content in declared.items() if not path.is_file() or path.read_bytes() != content]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 if --check found a difference."""
    parser = argparse.ArgumentParser(
        prog="python -m systems", description="Write model_repository/ and the client's version."
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with status 1 if a file differs from its declaration",
    )
    parser.add_argument("--repository", type=Path, default=REPOSITORY, metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--able",
        nargs="+",
        metavar=("COMMAND", "SYSTEM"),
        help="only print which systems python -m export COMMAND supports, of those named or of the default ones",
    )
    options = parser.parse_args(arguments)
    known = Repository(options.repository).known(SYSTEMS)
    if options.able:
        command, *names = options.able
        chosen = [system for system in known.values() if system.name in names or (system.by_default and not names)]
        print(*(system.name for system in chosen if system.can(command)))
        return 0
    declared = {
        path: text for each in known.values() for path, text in declared_files(each, options.repository).items()
    }
    if options.repository == REPOSITORY:
        declared[CLIENT_VERSION] = client_module()
    work = stale_files if options.check else write_files
    message = "differs from its declaration: run python -m systems" if options.check else "written"
    changed = work(declared)
    for path in changed:
        print(f"{path} {message}", file=sys.stderr if options.check else sys.stdout)
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
