"""Which files a bulk run finds."""

import os
import shutil
from pathlib import Path

import pytest
from tritone_client.bulk.sources import EXTENSIONS, Skipped, count_files, find_files
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


@pytest.mark.parametrize(
    "ending",
    [
        *("3g2", "aifc", "asf", "au", "caf", "eac3", "m4b", "m4r", "m4v", "mkv", "mpga", "nist", "oga", "rf64"),
        *("snd", "sph", "spx", "voc", "w64", "wave", "weba", "wmv"),
    ],
)
def test_endings_of_recordings(tmp_path: Path, ending: str):
    (tmp_path / f"a.{ending}").touch()
    assert list(find_files(str(tmp_path))) == [(f"{tmp_path}/a.{ending}", None)]


def test_links_that_leave_a_folder(tmp_path: Path):
    songs, elsewhere = tmp_path / "songs", tmp_path / "songs2"  # not inside, though its name begins alike
    for folder in (songs / "deep", elsewhere):
        folder.mkdir(parents=True)
        (folder / "a.mp3").touch()
    (songs / "inside.mp3").symlink_to(songs / "deep" / "a.mp3")
    (songs / "deep" / "outside.mp3").symlink_to("../../songs2/a.mp3")
    (songs / "by_way.mp3").symlink_to("deep/outside.mp3")
    (songs / "disk").symlink_to(elsewhere)
    (songs / "nowhere.mp3").symlink_to(tmp_path / "nowhere.mp3")
    (tmp_path / "link").symlink_to(songs)
    for folder in (songs, tmp_path / "link"):
        skipped = Skipped()
        names = {os.path.relpath(path, folder) for path, _ in find_files(str(folder), skipped)}
        assert names == {"deep/a.mp3", "inside.mp3"}
        assert skipped.sentence == "Skipped 3 links that leave the folder; a list may name any file."


def test_what_is_skipped_is_counted(tmp_path: Path):
    names = ["a.mp3", "b.txt", "deep/c.TXT", "deep/mp3", "Vol. 1\n by X"]
    names += [f"x.{ending}" for ending in ("jpg", "pdf", "cue", "log", "nfo")]
    hidden = [".d.txt", ".hidden/e.txt", "rows.csv", "deep/rows.csv.lock"]  # or the run's own
    for name in [*names, *hidden]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "outside.mp3").symlink_to(__file__)
    skipped, counted = Skipped(f"{tmp_path}/rows.csv"), Skipped("rows.csv")
    assert len(list(find_files(str(tmp_path), skipped))) == count_files(str(tmp_path), counted) == 1
    assert skipped.sentence == counted.sentence
    assert skipped.extensions[".txt"] == skipped.extensions["none"] == 2 and skipped.files == 9
    assert skipped.sentence.startswith("Skipped 9 files by extension (")
    assert skipped.sentence.endswith(", others 2) and 1 link that leaves the folder; a list may name any file.")


def test_endings_are_counted_in_limited_memory():
    skipped = Skipped()
    for i in range(3 * EXTENSIONS):
        skipped.add_file(f"song.{i}")
    assert skipped.files == 3 * EXTENSIONS and len(skipped.extensions) == EXTENSIONS
    assert f"others {3 * EXTENSIONS - 5})" in skipped.sentence


def test_a_folder_without_recordings(tmp_path: Path):
    assert list(find_files(str(tmp_path))) == []  # an empty one is fine
    (tmp_path / "a.txt").touch()
    with pytest.raises(InvalidRecording) as caught:
        find_files(str(tmp_path))
    assert str(caught.value) == (
        f"'{tmp_path}' contains no recordings. Skipped 1 file by extension (.txt 1); a list may name any file."
    )


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
    with pytest.raises(InvalidRecording, match="is a binary file, not a list of paths: use `tritone classify`"):
        find_files(str(song))
    with pytest.raises(InvalidRecording, match=r"'nowhere' cannot be read \(No such file or directory\): name a"):
        find_files("nowhere")
