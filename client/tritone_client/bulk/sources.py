"""Which files a bulk run asks: the recordings of a folder, or the lines of a list, never all of them at once.

A name is a `str` as the operating system gives it: bytes that are no UTF-8 stand in it as lone surrogates.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from tritone_client.errors import InvalidRecording
from tritone_client.files import SUFFIXES

STDIN = "-"
SHOWN = 5  # endings, of all that were left out
ENDINGS = 100  # different endings that are counted each
NO_ENDING = "without one"

# A path, and why nothing can be asked of it (a folder that cannot be opened), or None.
Found = tuple[str, InvalidRecording | None]


class LeftOut:
    """How many files a walk leaves out by their endings, and how many links because they leave the folder.

    Only numbers are kept, of a limited number of endings. The file with the rows, `out`, and those beside it that
    begin with its name are not counted: a run makes them itself.
    """

    def __init__(self, out: str = "") -> None:
        self.files = self.links = 0
        self.endings = Counter[str]()
        self._own = os.path.basename(out)

    def add_file(self, name: str) -> None:
        """Count a file by its ending."""
        if self._own and name.startswith(self._own):
            return
        self.files += 1
        ending = os.path.splitext(name)[1].lower()
        if not re.fullmatch(r"\.\w{1,10}", ending):  # the rest of a sentence, perhaps with a line break
            ending = NO_ENDING
        if ending in self.endings or len(self.endings) < ENDINGS:
            self.endings[ending] += 1

    @property
    def sentence(self) -> str:
        """`Left out 15 files by their endings (.txt 9, .jpg 6)...`, or nothing where nothing was left out."""
        parts = []
        if self.files:
            what = "1 file by its ending" if self.files == 1 else f"{self.files} files by their endings"
            parts.append(f"{what} ({self._most_common()})")
        if self.links:
            parts.append("1 link that leaves" if self.links == 1 else f"{self.links} links that leave")
            parts[-1] += " the folder"
        return f"Left out {' and '.join(parts)}; a list may name any file." if parts else ""

    def _most_common(self) -> str:
        shown = self.endings.most_common(SHOWN)
        others = self.files - sum(times for _, times in shown)
        return ", ".join(f"{ending} {times}" for ending, times in [*shown, ("others", others)] if times)


def find_files(source: str, left_out: LeftOut | None = None) -> Iterator[Found]:
    """The files that `source` names: a folder, a list with one path a line, or - for standard input as a list.

    A list is opened, and the first file of a folder is found, before this returns; `left_out` counts what is left
    out of a folder. Raises `InvalidRecording` for a source that cannot be used.
    """
    if source == STDIN:
        if sys.stdin is None:
            raise InvalidRecording("The standard input is closed: give a folder, or a file with one path a line.")
        return read_lines(sys.stdin.buffer, "The standard input")
    if os.path.isdir(source):
        return find_in_folder(source, left_out or LeftOut())
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


def find_in_folder(folder: str, left_out: LeftOut) -> Iterator[Found]:
    """The audio files of a folder. Raises `InvalidRecording` where all that it holds is left out."""
    found = walk(folder, left_out)
    first = next(found, None)
    if not first and left_out.sentence:
        raise InvalidRecording(f"'{folder}' holds no recordings to send. {left_out.sentence}")
    return chain([first], found) if first else found


def count_files(source: str, left_out: LeftOut | None = None) -> int | None:
    """How many files `source` names, by going through it; None for a pipe, which can be read but once."""
    if not (os.path.isdir(source) or os.path.isfile(source)):
        return None
    return sum(1 for _ in find_files(source, left_out))


def walk(folder: str, left_out: LeftOut) -> Iterator[Found]:
    """The audio files in and below a folder, in no order. What is hidden is left out, links to folders as well.

    Links are left out because the same file could be found by two names, and be asked twice; links to files only
    where they leave the folder, because what lies elsewhere was not asked for.
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
                    elif is_wanted(entry, root, left_out):
                        yield entry.path, None
        except OSError as error:
            yield path, InvalidRecording(f"The folder '{path}' cannot be read: {error.strerror}.")


def is_wanted(entry: os.DirEntry[str], root: str, left_out: LeftOut) -> bool:
    """Whether this is an audio file of the folder `root`. What is left out is counted, if it leads anywhere."""
    if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(root):
        left_out.links += is_file(entry) or entry.is_dir()
        return False
    if not is_file(entry):
        return False
    if not entry.name.lower().endswith(SUFFIXES):
        left_out.add_file(entry.name)
        return False
    return True


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
