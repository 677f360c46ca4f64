"""What `tritone classify` and `emotion` share: the files, their answers in order, and the printing of these."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import typer

from tritone_client.cli.options import output, print_json
from tritone_client.errors import InvalidRecording, TritoneError
from tritone_client.plain import plain

if TYPE_CHECKING:
    from tritone_client.answer import Answer
    from tritone_client.client import Client
    from tritone_client.transport.request import Recording

T = TypeVar("T")
FOLDER = 100  # recordings in a folder; more are for `tritone bulk`
INTERRUPTED = 130  # exit code


def in_folders(files: Sequence[str]) -> list[str]:
    """Return the files, and the recordings in the folders among them, at any depth, at most `FOLDER` of each."""
    from tritone_client.bulk.sources import find_files

    found: list[str] = []
    for file in files:
        if not os.path.isdir(file):
            found.append(file)
            continue
        sources = list(islice(find_files(file), FOLDER + 1))
        if not sources:
            raise InvalidRecording(f"'{file}' contains no recordings: name a folder that does, or files.")
        if len(sources) > FOLDER:
            advice = "use tritone bulk, which can be interrupted and resumed."
            raise typer.BadParameter(
                f"'{plain(file)}' has more than {FOLDER} recordings: {advice}", param_hint="FILES"
            )
        for path, error in sorted(sources, key=lambda source: source.path):
            if error:
                raise error
            found.append(path)
    return found


def answered(
    client: Client, ask: Callable[[Recording], T], files: list[str]
) -> Generator[tuple[str, T | TritoneError], None, None]:
    """Yield each file with its answer, and draw a line while the next one is awaited; - is standard input."""
    from tritone_client.cli.waiting import Waiting
    from tritone_client.inflight import in_order

    stdin = sys.stdin.buffer.read() if "-" in files else b""
    waiting = Waiting(len(files))
    answers = in_order(client, lambda file: ask(stdin if file == "-" else file), files, waiting=waiting.tick)
    try:
        with closing(answers):
            for file, answer in answers:
                waiting.answered()
                yield file, answer
    finally:
        waiting.erase()


@contextmanager
def printing(
    files: Sequence[str], as_json: bool, columns: Sequence[str], runners_up: int
) -> Iterator[Callable[..., None]]:
    """Give a function that prints the answer, or the error, of one file; `columns` as in `Listing`.

    At the end it prints the notes, also after Ctrl-C, and exits with code 1 if any of the files failed.
    """
    from tritone_client.display import tables
    from tritone_client.display.listing import Listing

    listing = Listing(output(), files, columns, runners_up)
    failed: list[str] = []
    done = 0

    def show(file: str, answer: Answer | TritoneError, written: Mapping[str, str] | None = None) -> None:
        nonlocal done
        done += 1
        if isinstance(answer, TritoneError):
            failed.append(file)
        if as_json:
            print_json(tables.record(file, answer) | dict(written or {}))
        else:
            listing.add(file, answer)

    try:
        yield show
    except KeyboardInterrupt:
        listing.end()
        if len(files) > 1:
            advice = "`tritone bulk` can be interrupted and resumed."
            print(f"tritone: Interrupted after {done} of {len(files)} files. {advice}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    listing.end()
    if failed:
        raise typer.Exit(1)
