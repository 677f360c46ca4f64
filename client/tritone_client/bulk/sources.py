"""The files of a bulk run: the recordings in a folder, or the lines of a list, read one at a time.

A path is a `str` as the operating system gives it: bytes that are not UTF-8 become lone surrogates.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tritone_client.errors import InvalidRecording
from tritone_client.files import SUFFIXES

STDIN = "-"
SHOWN = 5  # extensions of skipped files in a message
EXTENSIONS = 100  # maximum number of extensions that are counted separately
NO_EXTENSION = "none"


class Source(NamedTuple):
    """A path, and the error if it is a folder that cannot be opened."""

    path: str
    error: InvalidRecording | None = None


class Skipped:
    """Counts the files that a search skips, by extension, and the links that lead out of the folder.

    Only numbers are kept, for a limited number of extensions. The file with the rows, `out`, and files next to it
    whose names begin with its name are not counted: the run itself writes them.
    """

    def __init__(self, out: str = "") -> None:
        self.files = self.links = 0
        self.extensions = Counter[str]()
        self._own = os.path.basename(out)

    def add_file(self, name: str) -> None:
        """Count a file by its extension."""
        if self._own and name.startswith(self._own):
            return
        self.files += 1
        extension = os.path.splitext(name)[1].lower()
        if not re.fullmatch(r"\.\w{1,10}", extension):  # part of a sentence, perhaps with a line break
            extension = NO_EXTENSION
        if extension in self.extensions or len(self.extensions) < EXTENSIONS:
            self.extensions[extension] += 1

    @property
    def sentence(self) -> str:
        """`Skipped 15 files by extension (.txt 9, .jpg 6)...`, or an empty text if nothing was skipped."""
        parts = []
        if self.files:
            files = "1 file" if self.files == 1 else f"{self.files} files"
            parts.append(f"{files} by extension ({self._most_common()})")
        if self.links:
            parts.append("1 link that leaves" if self.links == 1 else f"{self.links} links that leave")
            parts[-1] += " the folder"
        return f"Skipped {' and '.join(parts)}; a list may name any file." if parts else ""

    def _most_common(self) -> str:
        shown = self.extensions.most_common(SHOWN)
        others = self.files - sum(times for _, times in shown)
        return ", ".join(f"{extension} {times}" for extension, times in [*shown, ("others", others)] if times)


def find_files(source: str, skipped: Skipped | None = None) -> Iterator[Source]:
    """Return the files that `source` names: a folder, a list with one path per line, or - for a list on stdin.

    A list is opened, and the first file of a folder is found, before this returns; `skipped` counts the files of a
    folder that are not returned. Raises `InvalidRecording` for a source that cannot be used.
    """
    if source == STDIN:
        if sys.stdin is None:
            raise InvalidRecording(
                "The standard input is closed: give a folder, or a file with one path per line."
            )
        return read_lines(sys.stdin.buffer, "The standard input")
    if os.path.isdir(source):
        return find_in_folder(source, skipped or Skipped())
    try:
        stream = open(source, "rb")  # noqa: SIM115 (read_lines closes it)
    except OSError as error:
        raise InvalidRecording(
            f"'{source}' cannot be read ({error.strerror}): name a folder, a file with one path per line, or -."
        ) from None
    if b"\0" in stream.peek(1):
        stream.close()
        raise InvalidRecording(
            f"'{source}' is a binary file, not a list of paths: use `tritone classify` for a single recording."
        )
    return read_lines(stream, f"'{source}'")


def find_in_folder(folder: str, skipped: Skipped) -> Iterator[Source]:
    """Return the audio files of a folder. Raises `InvalidRecording` if all its files are skipped."""
    files = walk(folder, skipped)
    first = next(files, None)
    if not first and skipped.sentence:
        raise InvalidRecording(f"'{folder}' contains no recordings. {skipped.sentence}")
    return chain([first], files) if first else files


def count_files(source: str, skipped: Skipped | None = None) -> int | None:
    """Return the number of files that `source` names; None for a pipe, which can be read only once."""
    if not (os.path.isdir(source) or os.path.isfile(source)):
        return None
    return sum(1 for _ in find_files(source, skipped))


def walk(folder: str, skipped: Skipped) -> Iterator[Source]:
    """Yield the audio files in and below a folder, in no order, without hidden ones.

    Links to folders are skipped because one file could be found under two names, and be sent twice; links to files
    only if they lead out of the folder, because the user did not ask for files elsewhere.
    """
    folders, root = [folder], os.path.realpath(folder)
    while folders:
        path = folders.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif is_wanted(entry, root, skipped):
                        yield Source(entry.path)
        except OSError as error:
            yield Source(path, InvalidRecording(f"The folder '{path}' cannot be read: {error.strerror}."))


def is_wanted(entry: os.DirEntry[str], root: str, skipped: Skipped) -> bool:
    """Return whether this is an audio file of the folder `root`; count it if it is skipped."""
    if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(root):
        skipped.links += is_file(entry) or entry.is_dir()
        return False
    if not is_file(entry):
        return False
    if not entry.name.lower().endswith(SUFFIXES):
        skipped.add_file(entry.name)
        return False
    return True


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether this is a file; True if that is unknown: reading it then fails, and its row reports why."""
    try:
        return entry.is_file()
    except OSError:
        return True


def read_lines(stream: BinaryIO, name: str) -> Iterator[Source]:
    """Yield the lines of a list as they come, without blank lines, CR before LF, and a byte order mark."""
    with stream:
        try:
            for number, line in enumerate(stream):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
                path = line.removesuffix(b"\n").removesuffix(b"\r")
                if path.strip():
                    yield Source(os.fsdecode(path))
        except OSError as error:
            raise InvalidRecording(f"{name} cannot be read further: {error.strerror}.") from None
