"""Real music for measurements: what is taken out of packages, which excerpts are chosen; nothing is downloaded."""

import io
import subprocess

import numpy as np
import pytest
import soundfile as sf

from bench import music
from bench.errors import BenchError

SR = 8000


def song(seconds: float, form: str = "OGG", value: float = 0.1) -> bytes:
    file = io.BytesIO()
    sf.write(file, np.full((round(seconds * SR), 2), value, np.float32), SR, format=form)
    return file.getvalue()


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Name -> .deb, made by dpkg-deb."""
    folder = tmp_path_factory.mktemp("packages")
    files = {
        "game-music": {
            "usr/share/games/forest/theme.ogg": song(31),
            "usr/share/games/castle/theme.ogg": song(40),
            "usr/share/games/castle/deep.FLAC": song(31, "FLAC"),
            "usr/share/games/castle/jingle.ogg": song(5),
            "usr/share/games/castle/broken.ogg": b"no music",
            "usr/share/games/castle/notes.txt": b"read me",
            "usr/share/doc/game-music/copyright": b"the authors",
        },
        "game-data": {"usr/share/games/jingle.ogg": song(5)},
    }
    for name, content in files.items():
        for path, data in content.items():
            file = folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (folder / name / "DEBIAN").mkdir()
        control = (
            f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: x\n"
        )
        (folder / name / "DEBIAN" / "control").write_text(control)
        command = ["dpkg-deb", "-b", "--root-owner-group", folder / name, folder / f"{name}.deb"]
        subprocess.run(command, check=True, capture_output=True)
    return {name: folder / f"{name}.deb" for name in files}


def test_songs_are_kept_with_their_licence_and_fetched_once(packages, tmp_path, capsys):
    asked = []

    def download(package, folder):
        asked.append(package)
        return packages[package]

    target = tmp_path / "music"
    (target / "game-music.partial").mkdir(parents=True)
    (target / "game-music.partial" / "half.ogg").write_bytes(song(31))  # left by one that was interrupted
    assert music.songs(target) == []
    music.collect(target, download, ["game-music", "game-data"])
    names = {path.name for path in (target / "game-music").iterdir()}
    assert names == {"forest-theme.ogg", "castle-theme.ogg", "castle-deep.FLAC", "copyright"}
    assert (target / "game-music" / "copyright").read_text() == "the authors"
    assert [path.name for path in target.iterdir()] == ["game-music"]
    assert "game-data: game-data.deb has no song longer than 30 s; skipped" in capsys.readouterr().out
    music.collect(target, download, ["game-music", "game-data"])
    assert asked == ["game-music", "game-data", "game-data"]


def test_what_cannot_be_fetched_is_reported(packages, tmp_path, monkeypatch):
    broken = tmp_path / "broken.deb"
    broken.write_bytes(b"not a package")
    with pytest.raises(BenchError, match=r"none of 1 packages .* broken\.deb cannot be read as a Debian package"):
        music.collect(tmp_path / "music", lambda *_: broken, ["broken"])
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package game' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(apt.parent), prepend=":")
    with pytest.raises(BenchError, match=r"cannot download it \(Unable to locate package game\)"):
        music.apt("game", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="apt-get is missing"):
        music.apt("game", tmp_path)
    with pytest.raises(BenchError, match="dpkg-deb is missing"):
        music.collect(tmp_path / "music", music.apt, ["game"])


def test_excerpts_are_of_different_songs_of_all_packages(tmp_path):
    for folder, lengths in {"one": (40, 50, 20), "two": (35,), "three": (60, 45, 40)}.items():
        (tmp_path / folder).mkdir()
        for number, seconds in enumerate(lengths):
            (tmp_path / folder / f"{number}.ogg").write_bytes(song(seconds))
    (tmp_path / "two" / "silent.ogg").write_bytes(song(90, value=0.0))
    chosen = music.choose(tmp_path, 5, 30.0)
    assert chosen == music.choose(tmp_path, 5, 30.0) != music.choose(tmp_path, 5, 30.0, seed=1)
    assert len({path for path, _ in chosen}) == 5
    assert sorted(path.parent.name for path, _ in chosen) == ["one", "one", "three", "three", "two"]
    for path, start in chosen:
        assert 0 <= start <= sf.info(path).duration - 30
    with pytest.raises(BenchError, match="has 6 songs of at least 30 s, 7 are needed: run python -m bench.music"):
        music.choose(tmp_path, 7, 30.0)


def test_an_excerpt_is_the_mean_of_its_channels(tmp_path):
    seconds = np.arange(31 * SR) // SR / 100
    sf.write(tmp_path / "song.flac", np.stack([seconds, 0 * seconds], 1), SR)
    y, sr = music.read(tmp_path / "song.flac", 10.0, 2.0)
    assert (y.shape, y.dtype, sr) == ((2 * SR,), np.float32, SR)
    np.testing.assert_allclose(y, np.repeat([0.05, 0.055], SR), atol=1e-4)
