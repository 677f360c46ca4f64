"""Selects the example recordings of a hub repository and reads their classes from their names.

The recordings are in the folder `examples/`, and their names begin with the number or the name of a class:
`0.mp3`, `Soft rock 2.wav`, `3_symphony.flac`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from preprocess import Limits

FOLDER = "examples"
MAX_FILES = 64
# Largest size of a file: the server accepts no more.
MAX_BYTES = Limits.max_bytes
# Suffixes of recordings, as in the client, whose package is not installed in the image that exports.
SUFFIXES = (
    *(".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".asf", ".au", ".caf", ".eac3", ".flac"),
    *(".m4a", ".m4b", ".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpga", ".nist", ".oga"),
    *(".ogg", ".opus", ".rf64", ".snd", ".sph", ".spx", ".voc", ".w64", ".wav", ".wave", ".weba", ".webm", ".wma"),
    ".wmv",
)

SEPARATORS = r"[\W_]*"
NUMBER = re.compile(SEPARATORS + r"([0-9]{1,9})(?![0-9])")
# The word "and", which file names use for & or leave out.
AND = re.compile(r"(?<![^\W_])and(?![^\W_])")


class UnclearName(ValueError):
    """The name of a file does not begin with a class."""


@dataclass(frozen=True)
class Example:
    """A recording of the repository's folder.

    Attributes
    ----------
    name : path below the folder
    expected : its class; None if the name does not begin with one
    skipped : why it is not classified; None if it is
    """

    name: str
    expected: int | None = None
    skipped: str | None = None


def is_recording(name: str) -> bool:
    """Return whether a path of the repository is an example recording, by its suffix; hidden files are not."""
    path = PurePosixPath(name)
    inside = path.parts[0] == FOLDER and ".." not in path.parts  # it becomes a path of this machine
    return inside and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def choose(found: dict[str, int], labels: Sequence[str]) -> tuple[list[Example], int]:
    """Select the recordings to classify, by name and size.

    Parameters
    ----------
    found : path in the repository -> size in bytes
    labels : labels of the network

    Returns
    -------
    examples : all recordings in the order of their names, 2 before 10, with the reason if one is skipped
    left : number of recordings left out because of the limit MAX_FILES
    """
    examples, asked, left = [], 0, 0
    for path in sorted(found, key=_natural):
        name = PurePosixPath(path).relative_to(FOLDER).as_posix()
        try:
            expected = named_class(PurePosixPath(path).stem, labels)
        except UnclearName as error:
            examples.append(Example(name, skipped=str(error)))
            continue
        if found[path] > MAX_BYTES:
            examples.append(
                Example(name, expected, f"it has {found[path]} bytes, more than the limit of {MAX_BYTES}")
            )
        elif asked == MAX_FILES:
            left += 1
        else:
            asked += 1
            examples.append(Example(name, expected))
    return examples, left


def named_class(stem: str, labels: Sequence[str]) -> int:
    """Return the class that a file name begins with: its name, optionally after a number, or its number.

    Letter case, separators and the word "and" do not matter. The longest name wins, and it must end where a word
    ends: "solomon" is not "solo". Without a name, the number is the index of the class, from 0. Before a name it
    is ignored, because authors number their classes differently (ccmusic's 3_Symphony is output 0).

    Parameters
    ----------
    stem : file name without folder and suffix
    labels : names of the classes, in order

    Raises
    ------
    UnclearName
        If the name does not begin with a class.
    """
    text = _plain(stem)
    named = _longest(text, labels)
    if named is None and (match := NUMBER.match(text)):
        number, rest = int(match[1]), text[match.end() :]
        named = _longest(rest, labels)
        if named is None and number < len(labels) and not rest[:1].isalpha():  # "1st movement" has no number
            named = number
    if named is None:
        raise UnclearName("its name does not begin with a class")
    return named


def _plain(text: str) -> str:
    """Normalise letter case, character forms and the word "and"."""
    return AND.sub(" ", unicodedata.normalize("NFKC", text).casefold())


def _longest(text: str, labels: Sequence[str]) -> int | None:
    """Return the class with the longest name that the text begins with; None without one."""
    best, most = None, 0
    for index, label in enumerate(labels):
        letters = re.sub(r"[\W_]", "", _plain(label))
        if len(letters) <= most:
            continue
        same_kind = "[0-9]" if letters[-1].isdigit() else r"[^\W\d_]"
        if re.match(SEPARATORS + SEPARATORS.join(map(re.escape, letters)) + f"(?!{same_kind})", text):
            best, most = index, len(letters)
    return best


def _natural(path: str) -> list[str]:
    """Return a sort key: numbers in names by value, letters regardless of case."""
    return [part.zfill(20) if part.isdecimal() else part for part in re.split(r"([0-9]+)", path.casefold())]
