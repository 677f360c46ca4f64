"""The example recordings of a repository of the hub: which files they are, and which classes they are named after.

They lie in its folder `examples/`, and their names begin with the number or with the name of a class: `0.mp3`,
`Soft rock 2.wav`, `3_symphony.flac`.
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
    """A file is named after no class."""


@dataclass(frozen=True)
class Example:
    """A recording of the repository's folder.

    Attributes
    ----------
    name : its path below the folder
    expected : its class; None where the name says none
    skipped : why it is not asked about; None where it is
    """

    name: str
    expected: int | None = None
    skipped: str | None = None


def is_recording(name: str) -> bool:
    """Whether a path of the repository is that of an example, by its suffix; a hidden file is not."""
    path = PurePosixPath(name)
    inside = path.parts[0] == FOLDER and ".." not in path.parts  # it becomes a path of this machine
    return inside and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def choose(found: dict[str, int], labels: Sequence[str]) -> tuple[list[Example], int]:
    """Choose the recordings to ask about, by name and size.

    Parameters
    ----------
    found : path in the repository -> bytes
    labels : of the network

    Returns
    -------
    All of them in the order of their names, 2 before 10, with why some are skipped; and how many were left out
    because MAX_FILES others are asked about
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
    """The class that a file name begins with: its name, perhaps with a number before it, or its number.

    Letter case, separators and the word "and" do not matter. The longest name wins, and it has to end where a word
    ends: "solomon" is no solo. A number counts from 0 where no name follows; before a name it is ignored, because
    authors number their classes in other ways (ccmusic's 3_Symphony is output 0).

    Parameters
    ----------
    stem : of the file, without folder and suffix
    labels : names of the classes, in order

    Raises
    ------
    UnclearName
        it begins with no class
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
    """What does not matter is made equal, or a separator."""
    return AND.sub(" ", unicodedata.normalize("NFKC", text).casefold())


def _longest(text: str, labels: Sequence[str]) -> int | None:
    """The class with the longest name that a text begins with; None without one."""
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
    """Sorts numbers in names by their value, and letters whatever their case."""
    return [part.zfill(20) if part.isdecimal() else part for part in re.split(r"([0-9]+)", path.casefold())]
