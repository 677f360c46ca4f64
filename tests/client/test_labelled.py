"""Labelled recordings in folders and in CSV files, and what is said of those that cannot be used."""

from pathlib import Path

import pytest
from tritone_client import InvalidLabels, Labelled, read_labelled


def test_folders(tmp_path: Path):
    for name in (
        "Opera/b.mp3",
        "Opera/live/a.FLAC",
        "独奏/c.wav",
        "Opera/notes.txt",
        "Opera/.d.mp3",
        "e.mp3",
        ".x/f.mp3",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert read_labelled(tmp_path) == [
        Labelled(tmp_path / "Opera" / "b.mp3", "Opera"),
        Labelled(tmp_path / "Opera" / "live" / "a.FLAC", "Opera"),
        Labelled(tmp_path / "独奏" / "c.wav", "独奏"),
    ]


def test_a_csv_file(tmp_path: Path):
    (tmp_path / "sounds").mkdir()
    for name in ("sounds/a.mp3", "b, c.wav"):
        (tmp_path / name).touch()
    table = tmp_path / "labels.csv"
    table.write_bytes('﻿label,seed,group,file\r\n独奏,1, noise-5 ,sounds/a.mp3\r\nOpera,2,,"b, c.wav"\r\n'.encode())
    expected = [
        Labelled(tmp_path / "sounds" / "a.mp3", "独奏", "noise-5"),
        Labelled(tmp_path / "b, c.wav", "Opera", ""),
    ]
    assert read_labelled(str(table)) == expected
    table.write_text('file,label\n"b, c.wav",Opera\n')
    assert read_labelled(table) == expected[1:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"path,label\na.mp3,Opera\n", r"labels\.csv' has no column 'file': its first line must name the columns"),
        (b"", r"has no column 'file'"),
        (b"file,label\n", r"contains no labelled recordings: use FOLDER/<label>/<recording>"),
        (b"file,label\na.mp3,Opera\na.mp3,\n", r"line 3: file and label must not be empty\.$"),
        (b"file,label\na.mp3\n", r"line 2: file and label must not be empty\.$"),
        (b"file,label\nb.mp3,Opera\n", r"line 2: there is no file 'b\.mp3' in its folder\.$"),
        (b"file,label\na.mp3,\xff\n", r"is not a CSV file in UTF-8"),
    ],
)
def test_csv_files_that_cannot_be_used(tmp_path: Path, text: bytes, message: str):
    (tmp_path / "a.mp3").touch()
    table = tmp_path / "labels.csv"
    table.write_bytes(text)
    with pytest.raises(InvalidLabels, match=message):
        read_labelled(table)


def test_places_without_recordings(tmp_path: Path):
    (tmp_path / "a.mp3").touch()
    with pytest.raises(InvalidLabels, match="contains no labelled recordings"):
        read_labelled(tmp_path)  # a recording that lies in no label's folder
    with pytest.raises(InvalidLabels, match=r"nowhere' cannot be read: No such file or directory\.$"):
        read_labelled(tmp_path / "nowhere")
