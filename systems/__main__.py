"""`python -m systems`: write model_repository/ from the declarations; with --check, only compare."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from systems import SYSTEMS, System
from systems.configurations import files
from systems.repository import Repository

REPOSITORY = Path(__file__).resolve().parent.parent / "model_repository"


def write(system: System, repository: Path) -> list[Path]:
    """Bring the files of a system in a repository up to date; those that were written."""
    changed = stale(system, repository)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dict(files(system))[path.relative_to(repository).as_posix()])
    return changed


def stale(system: System, repository: Path) -> list[Path]:
    """The files of a system that are not as declared."""
    paths = ((repository / name, content) for name, content in files(system))
    return [path for path, content in paths if not path.is_file() or path.read_bytes() != content]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns 0, or 1 where --check has found something."""
    parser = argparse.ArgumentParser(prog="python -m systems", description=__doc__.partition(";")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 where a file is not as declared"
    )
    parser.add_argument("--repository", type=Path, default=REPOSITORY, metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--able",
        nargs="+",
        metavar=("COMMAND", "SYSTEM"),
        help="only print which systems python -m export COMMAND works on, of those named or by default",
    )
    options = parser.parse_args(arguments)
    known = Repository(options.repository).known(SYSTEMS)
    if options.able:
        command, *names = options.able
        chosen = [system for system in known.values() if system.name in names or (system.by_default and not names)]
        print(*(system.name for system in chosen if system.can(command)))
        return 0
    work, said = (stale, "is not as declared: run python -m systems") if options.check else (write, "was written")
    changed = [path for system in known.values() for path in work(system, options.repository)]
    for path in changed:
        print(f"{path} {said}", file=sys.stderr if options.check else sys.stdout)
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
