"""Recordings whose labels are known: a folder with one folder per label, or a CSV file."""

import csv
from dataclasses import dataclass
from pathlib import Path

from tritone_client.errors import InvalidLabels
from tritone_client.files import SUFFIXES

COLUMNS = ("file", "label")


@dataclass(frozen=True)
class Labelled:
    """A recording, its true label (English or Chinese), and the group that it is counted with, empty for none."""

    file: Path
    label: str
    group: str = ""


def read_labelled(path: str | Path) -> list[Labelled]:
    """The recordings in FOLDER/<label>/ and below, by name, or those of a CSV file in its order.

    The CSV's first line names its columns: file, label and, if wanted, group; files are relative to it. Raises
    `InvalidLabels`.
    """
    path = Path(path)
    found = in_folders(path) if path.is_dir() else in_csv(path)
    if not found:
        raise InvalidLabels(
            f"'{path}' holds no labelled recordings: write FOLDER/<label>/<recording>, or a CSV file with the "
            "columns file, label."
        )
    return found


def in_folders(folder: Path) -> list[Labelled]:
    """The recordings below the folders of `folder`, labelled by these."""
    return [
        Labelled(file, label.name)
        for label in sorted(folder.iterdir())
        if label.is_dir() and not label.name.startswith(".")
        for file in sorted(label.rglob("*"))
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]


def in_csv(path: Path) -> list[Labelled]:
    """The recordings that a CSV file lists."""
    found = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:  # -sig: as spreadsheets write it
            rows = csv.DictReader(stream)
            if missing := [column for column in COLUMNS if column not in (rows.fieldnames or ())]:
                raise InvalidLabels(
                    f"'{path}' has no column '{missing[0]}': its first line must name the columns file, label "
                    "and, if wanted, group."
                )
            for row in rows:
                file, label = ((row[column] or "").strip() for column in COLUMNS)
                if not (file and label):
                    raise InvalidLabels(f"'{path}', line {rows.line_num}: file and label must not be empty.")
                if not (path.parent / file).is_file():
                    raise InvalidLabels(
                        f"'{path}', line {rows.line_num}: there is no file '{file}' beside the CSV file."
                    )
                found.append(Labelled(path.parent / file, label, (row.get("group") or "").strip()))
    except OSError as error:
        raise InvalidLabels(f"'{path}' cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidLabels(f"'{path}' is no CSV file in UTF-8 ({error}).") from None
    return found
