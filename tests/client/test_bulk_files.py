"""Which files a bulk run finds."""

import os
import shutil
from pathlib import Path

import pytest
from tritone_client.bulk_files import count_files, find_files
from tritone_client.errors import InvalidRecording


def test_a_folder(tmp_path: Path):
    wanted = ["a.mp3", "b/c/d.WAV", "b/line\nbreak.flac", "b/caf\udce9.ogg", "link.mp3", "loop.mp3"]
    other = [".hidden.mp3", ".hidden/e.mp3", "cover.jpg", "mp3", "elsewhere/x.txt"]
    for name in [*wanted[:-2], *other]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.mp3").mkdir()  # a folder of this name is one all the same
    (tmp_path / "link.mp3").symlink_to("a.mp3")
    (tmp_path / "loop.mp3").symlink_to("loop.mp3")  # to be told in its row, and to hide none of the others
    (tmp_path / "linked").symlink_to("b")  # the same files by other names, for ever if it led upwards
    (tmp_path / "broken.mp3").symlink_to("nowhere")
    found = list(find_files(str(tmp_path)))
    assert sorted(path for path, _ in found) == sorted(f"{tmp_path}/{name}" for name in wanted)
    assert {error for _, error in found} == {None}
    assert count_files(str(tmp_path)) == 6


def test_paths_are_told_as_the_source_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "a.mp3").touch()
    monkeypatch.chdir(tmp_path)
    assert [list(find_files(source)) for source in ("songs", "songs/", ".")] == [
        [("songs/a.mp3", None)],
        [("songs/a.mp3", None)],
        [("./songs/a.mp3", None)],
    ]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.mp3").touch()
    found = find_files(str(tmp_path))
    next(found)
    for name in "ab":
        shutil.rmtree(tmp_path / name)
    ((path, error),) = found
    assert path in (f"{tmp_path}/a", f"{tmp_path}/b")
    assert str(error) == f"The folder '{path}' cannot be read: No such file or directory."


def test_a_list(tmp_path: Path):
    path = tmp_path / "list"
    path.write_bytes("\ufeffa.mp3\r\n\n  \n b .mp3\n".encode() + b"caf\xe9.mp3\nlast")
    assert [name for name, _ in find_files(str(path))] == ["a.mp3", " b .mp3", "caf\udce9.mp3", "last"]
    assert count_files(str(path)) == 4


def test_a_pipe_is_read_as_it_comes_and_not_counted():
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as stream:
        stream.write(b"a.mp3\n")
        found = find_files(f"/dev/fd/{reading}")
        assert next(found) == ("a.mp3", None)
        assert count_files(f"/dev/fd/{reading}") is None  # would have taken lines away
        stream.write(b"b.mp3\n")
    os.close(reading)
    assert list(found) == [("b.mp3", None)]


def test_what_is_no_source(tmp_path: Path):
    song = tmp_path / "song.mp3"
    song.write_bytes(b"ID3\x03\x00\x00")
    with pytest.raises(InvalidRecording, match="is no list of paths, but a binary file: `tritone classify`"):
        find_files(str(song))
    with pytest.raises(InvalidRecording, match=r"'nowhere' cannot be read \(No such file or directory\): name a"):
        find_files("nowhere")
