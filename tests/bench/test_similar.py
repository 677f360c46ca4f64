"""The benchmark of similar songs: the versions that it makes, what it counts, and what it makes of the figures."""

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tritone_client.bulk.results import Results

from bench import similar
from bench.errors import BenchError
from bench.similar import HALF, ORIGINAL, VERSIONS, Song, chosen, compare, make_versions, neighbours_of, shares
from bench.similar_report import similar_section
from sounds import recording
from tests.client.bulk_answers import prediction
from tests.support.triton import Triton


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three songs at two depths, one that is too short, and what is no sound at all."""
    folder = tmp_path_factory.mktemp("music")
    (folder / "short").mkdir()
    for name, seconds in {"a.mp3": 9.0, "b.mp3": 10.0, "short/c.mp3": 8.5, "short/d.mp3": 7.0}.items():
        (folder / name).write_bytes(recording(3, seed=1, seconds=seconds))
    (folder / "broken.mp3").write_text("no sound")
    (folder / "readme.txt").write_text("by somebody")
    return folder


def probed(path: Path) -> tuple[str, float]:
    """A file's codec, and its seconds."""
    shown = ["-show_entries", "stream=codec_name:format=duration,bit_rate", "-of", "csv=p=0"]
    said = subprocess.run(["ffprobe", "-v", "error", *shown, path], capture_output=True, text=True, check=True)
    codec, rest = said.stdout.split()
    return codec, float(rest.split(",")[0])


def test_songs_are_drawn_from_those_that_are_long_enough(music: Path, tmp_path: Path):
    names = [[song.path.name for song in chosen(music, count)] for count in (10, 2, 2)]
    assert sorted(names[0]) == ["a.mp3", "b.mp3", "c.mp3"] and names[1] == names[2] == names[0][:2]
    shutil.copy(music / "short" / "d.mp3", tmp_path)
    with pytest.raises(BenchError, match="contains no song of 8 s or more"):
        chosen(tmp_path, 10)


def test_versions_are_what_they_are_called(music: Path, tmp_path: Path):
    (song,) = make_versions([Song(music / "b.mp3", 10.0, {})], tmp_path)
    assert set(song.versions) == {ORIGINAL, *VERSIONS} and song.versions[ORIGINAL] == music / "b.mp3"
    found = {kind: probed(path) for kind, path in song.versions.items()}
    assert found["MP3, 64 kbit/s"] == ("mp3", pytest.approx(10, abs=0.2))
    assert found["Opus, 64 kbit/s"] == ("opus", pytest.approx(10, abs=0.2))
    assert found[HALF] == ("flac", pytest.approx(5, abs=0.01))
    assert song.versions["MP3, 64 kbit/s"].stat().st_size == pytest.approx(10 * 8000, rel=0.1)


def song(name: str) -> Song:
    return Song(Path(name), 60.0, {kind: Path(f"{name}-{i}") for i, kind in enumerate([ORIGINAL, *VERSIONS])})


def test_the_nearest_of_each_file_are_counted(tmp_path: Path):
    """Of two songs; the second's half sounds like the first."""
    songs, out = [song("a"), song("b")], tmp_path / "rows.parquet"
    degrees = {"a-0": 0, "a-1": 1, "a-2": 2.5, "a-3": 4, "b-0": 90, "b-1": 91, "b-2": 92.5, "b-3": -4.5}
    with Results(str(out), "musicnn_msd", {}, embedding=True) as results:
        for name, angle in degrees.items():
            values = np.float32([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
            results.add(name, replace(prediction(), embedding=values))
    neighbours = neighbours_of(out)
    assert neighbours["a-0"] == ["a-1", "a-2", "a-3"] and neighbours["b-3"] == ["a-0", "a-1", "a-2"]
    found = shares(songs, neighbours)
    assert found["kinds"] == {
        ORIGINAL: {"nearest": 1.0, "all": 0.5},
        "MP3, 64 kbit/s": {"nearest": 1.0, "all": 0.5},
        "Opus, 64 kbit/s": {"nearest": 1.0, "all": 0.5},
        HALF: {"nearest": 0.5, "all": 0.5},
    }
    assert found["missed"] == ["b"]


@pytest.mark.slow
def test_a_whole_run(music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a small Triton, whose embeddings are hashes: what is counted is what was written."""

    @contextmanager
    def small(*flags: str):
        with Triton(tmp_path) as server:
            yield SimpleNamespace(grpc=server.grpc, variant="small")

    monkeypatch.setattr(similar, "embedded", small)
    found = compare(music, 2, "auto", "noise")
    assert (found["songs"], found["failed"], found["variant"]) == (2, 0, "small")
    assert found["hours"] == pytest.approx(2 * 9.5 * 3.5 / 3600, rel=0.1) and 0 < found["bulk_seconds"] < 60
    assert set(found["kinds"]) == {ORIGINAL, *VERSIONS}


def test_the_section_tells_each_kind():
    figures = {
        **{"system": "musicnn_msd", "variant": "openvino", "about": "soundtracks", "songs": 150, "failed": 2},
        **{"hours": 31.4, "bulk_seconds": 1200.0, "missed": ["x.ogg"]},
        "kinds": {ORIGINAL: {"nearest": 0.987, "all": 0.9}, HALF: {"nearest": 0.8, "all": 0.5}},
    }
    about = {"command": "python -m bench.similar FOLDER", "date": "2026-11-28", "machine": "AMD", "versions": {}}
    text = similar_section({"similar": figures, **about})
    words = " ".join(text.split())
    assert (
        "150 songs (soundtracks)" in words
        and "31 h of sound in total; the server rejected a version of 2 more" in words
    )
    assert "took 20 min (94 s of sound per second; `musicnn_msd`, openvino)" in words and "(of 600)" in words
    assert "| original | 99% | 90% |" in text and "| first half | 80% | 50% |" in text
    assert "2026-11-28: AMD" in words and "generated" not in words
