"""Labelled recordings: a folder with one folder per label, or a CSV file."""

import csv
from dataclasses import dataclass
from pathlib import Path

from tritone_client.errors import InvalidLabels
from tritone_client.files import SUFFIXES

COLUMNS = ("file", "label")


@dataclass(frozen=True)
class Labelled:
    """A recording, its true label (English or Chinese), and its group, empty for none."""

    file: Path
    label: str
    group: str = ""


def read_labelled(path: str | Path) -> list[Labelled]:
    """Return the recordings in FOLDER/<label>/ and below, by name, or those of a CSV file in its order.

    The CSV's first line names its columns: file, label and, optionally, group; files are relative to its folder.
    Raises `InvalidLabels`.
    """
    path = Path(path)
    labelled = in_folders(path) if path.is_dir() else in_csv(path)
    if not labelled:
        raise InvalidLabels(
            f"'{path}' contains no labelled recordings: use FOLDER/<label>/<recording>, or a CSV file with the "
            "columns file, label."
        )
    return labelled


def in_folders(folder: Path) -> list[Labelled]:
    """Return the recordings below the folders in `folder`, labelled by the names of these folders."""
    return [
        Labelled(file, label.name)
        for label in sorted(folder.iterdir())
        if label.is_dir() and not label.name.startswith(".")
        for file in sorted(label.rglob("*"))
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]


def in_csv(path: Path) -> list[Labelled]:
    """Return the recordings that a CSV file lists."""
    labelled = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:  # -sig: spreadsheets write a byte order mark
            rows = csv.DictReader(stream)
            if missing := [column for column in COLUMNS if column not in (rows.fieldnames or ())]:
                raise InvalidLabels(
                    f"'{path}' has no column '{missing[0]}': its first line must name the columns file, label "
                    "and, optionally, group."
                )
            for row in rows:
                file, label = ((row[column] or "").strip() for column in COLUMNS)
                if not (file and label):
                    raise InvalidLabels(f"'{path}', line {rows.line_num}: file and label must not be empty.")
                if not (path.parent / file).is_file():
                    raise InvalidLabels(
                        f"'{path}', line {rows.line_num}: there is no file '{file}' in its folder."
                    )
                labelled.append(Labelled(path.parent / file, label, (row.get("group") or "").strip()))
    except OSError as error:
        raise InvalidLabels(f"'{path}' cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidLabels(f"'{path}' is not a CSV file in UTF-8 ({error}).") from None
    return labelled
