"""Which files a bulk run asks: the recordings of a folder, or the lines of a list, never all of them at once.

A name is a `str` as the operating system gives it: bytes that are no UTF-8 stand in it as lone surrogates.
"""

import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from tritone_client.errors import InvalidRecording
from tritone_client.labelled import SUFFIXES

STDIN = "-"

# A path, and why nothing can be asked of it (a folder that cannot be opened), or None.
Found = tuple[str, InvalidRecording | None]


def find_files(source: str) -> Iterator[Found]:
    """The files that `source` names: a folder, a list with one path a line, or - for standard input as a list.

    A list is opened before this returns. Raises `InvalidRecording` for a source that cannot be used.
    """
    if source == STDIN:
        if sys.stdin is None:
            raise InvalidRecording("The standard input is closed: give a folder, or a file with one path a line.")
        return read_lines(sys.stdin.buffer, "The standard input")
    if os.path.isdir(source):
        return walk(source)
    try:
        stream = open(source, "rb")  # noqa: SIM115 (read_lines closes it)
    except OSError as error:
        raise InvalidRecording(
            f"'{source}' cannot be read ({error.strerror}): name a folder, a file with one path a line, or -."
        ) from None
    if b"\0" in stream.peek(1):
        stream.close()
        raise InvalidRecording(
            f"'{source}' is no list of paths, but a binary file: `tritone classify` takes a single recording."
        )
    return read_lines(stream, f"'{source}'")


def count_files(source: str) -> int | None:
    """How many files `source` names, by going through it; None for a pipe, which can be read but once."""
    if not (os.path.isdir(source) or os.path.isfile(source)):
        return None
    return sum(1 for _ in find_files(source))


def walk(folder: str) -> Iterator[Found]:
    """The audio files in and below a folder, in no order. What is hidden is left out, links to folders as well.

    Links are left out because the same file could be found by two names, and be asked twice.
    """
    folders = [folder]
    while folders:
        path = folders.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.name.lower().endswith(SUFFIXES) and is_file(entry):
                        yield entry.path, None
        except OSError as error:
            yield path, InvalidRecording(f"The folder '{path}' cannot be read: {error.strerror}.")


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether this is a file, or what cannot be looked at: then reading it says why, in its own row."""
    try:
        return entry.is_file()
    except OSError:
        return True


def read_lines(stream: BinaryIO, name: str) -> Iterator[Found]:
    """The lines of a list as they come, without blank ones, CR before LF, and a byte order mark."""
    with stream:
        try:
            for number, line in enumerate(stream):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
                path = line.removesuffix(b"\n").removesuffix(b"\r")
                if path.strip():
                    yield os.fsdecode(path), None
        except OSError as error:
            raise InvalidRecording(f"{name} cannot be read on: {error.strerror}.") from None
