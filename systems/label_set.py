"""Sets of labels: names of classes in the order of a network's outputs, and their groupings, from labels/*.json.

The ccmusic tables come from the data set ccmusic-database/music_genre and its authors' demonstration: 16 genres,
grouped into 9 and into 2. No released checkpoint has the AcousticSense list, which is article B's
(systems/profiles.py); weights trained on it name it in a labels.json beside them. The emotions come from
Emotion2Vec+'s tokens.txt, with `<unk>` under the name that its users know.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeGuard

FOLDER = Path(__file__).with_name("labels")


class LabelError(ValueError):
    """A file is not a set of labels; the message describes the expected content."""


@dataclass(frozen=True)
class Label:
    """A class in English and in Chinese."""

    en: str
    zh: str


@dataclass(frozen=True)
class Level:
    """A coarser grouping: `members[i]` is the index among `labels` of the group of class i."""

    name: str
    labels: tuple[Label, ...]
    members: tuple[int, ...]


@dataclass(frozen=True)
class LabelSet:
    """Classes in output order, and their groupings."""

    labels: tuple[Label, ...]
    levels: tuple[Level, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of_manifest(cls, manifest: dict[str, Any]) -> LabelSet:
        """Read the entries that `manifest` writes."""
        levels = manifest.get("levels", [])
        return cls(
            _labels(manifest["labels"]),
            tuple(Level(a["name"], _labels(a["labels"]), tuple(a["members"])) for a in levels),
        )

    def manifest(self) -> dict[str, Any]:
        """Return the entries `labels` and `levels` of a manifest."""
        return {"labels": [asdict(a) for a in self.labels], "levels": [asdict(a) for a in self.levels]}


def named() -> list[str]:
    """Return the names of the sets in labels/."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def label_set(name: str) -> LabelSet:
    """Read labels/<name>.json."""
    return read_labels(FOLDER / f"{name}.json")


def read_labels(path: Path) -> LabelSet:
    """Read a file of labels.

    A text file (.txt) has one name per line. A JSON file contains the name of a set in labels/; or a list of
    English names or {"en", "zh"} objects; or an object with such a list as "labels", and "levels": {name:
    {"labels": such a list, "members": an index for each class}}.

    Raises
    ------
    LabelError
        not JSON, an unknown name, or entries of another form
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = text.splitlines() if path.suffix == ".txt" else json.loads(text)
    except OSError as error:
        raise LabelError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise LabelError(f"{path}: not JSON ({error})") from error
    if path.suffix == ".txt" and not _are_labels(content):
        raise LabelError(f"{path}: expected the name of a class on every line")
    if isinstance(content, str) and content in named():
        return label_set(content)
    if not isinstance(content, dict):
        content = {"labels": content}
    labels, levels = content.get("labels"), content.get("levels", {})
    if (
        _are_labels(labels)
        and isinstance(levels, dict)
        and all(_is_level(v, len(labels)) for v in levels.values())
    ):
        return LabelSet(
            _labels(labels),
            tuple(Level(name, _labels(v["labels"]), tuple(v["members"])) for name, v in levels.items()),
        )
    raise LabelError(
        f"{path}: expected one of {', '.join(map(repr, named()))}, or a list of names or of"
        ' {"en": ..., "zh": ...}'
    )


def _labels(entries: Sequence[Any]) -> tuple[Label, ...]:
    return tuple(Label(a, a) if isinstance(a, str) else Label(a["en"], a["zh"]) for a in entries)


def _are_labels(entries: object) -> TypeGuard[list[Any]]:
    return isinstance(entries, list) and bool(entries) and all(_is_label(entry) for entry in entries)


def _is_label(entry: object) -> bool:
    values: Sequence[object] = [entry]
    if isinstance(entry, dict):
        values = [entry.get("en"), entry.get("zh")]
    return all(isinstance(value, str) and value.strip() and "\n" not in value for value in values)


def _is_level(level: object, classes: int) -> bool:
    if not isinstance(level, dict) or not _are_labels(level.get("labels")):
        return False
    members, groups = level.get("members"), len(level["labels"])
    return (
        isinstance(members, list)
        and len(members) == classes
        and all(type(member) is int and 0 <= member < groups for member in members)
    )
