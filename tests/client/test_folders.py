"""What `tritone emotion` writes: the web UI's layout, folders that never collide, nothing half-written."""

import json
import multiprocessing
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from tritone_client import EmotionPrediction, Weights
from tritone_client.cli import folders
from tritone_client.errors import OutputFailed

NOW = datetime(2024, 1, 4, 22, 30)


def prediction(frames: int = 0, silence: bool = False) -> EmotionPrediction:
    """A prediction for two emotions, with `frames` frames of which every second is sad."""
    scores = {"happy": 0.5, "sad": 0.5} if silence else {"happy": 0.75, "sad": 0.25}
    rows = np.tile(np.array([[0.9, 0.1], [0.5, 0.5] if silence else [0.2, 0.8]], np.float32), (frames, 1))[:frames]
    return EmotionPrediction(
        model="m",
        emotion=None if silence else "happy",
        emotion_zh=None if silence else "开心",
        confidence=None if silence else 0.75,
        scores=scores,
        labels=("happy", "sad"),
        segments=(),
        frame_scores=rows if frames else None,
        frame_hop=0.02,
        embedding=np.arange(1024, dtype=np.float32),
        frame_embeddings=np.ones((frames, 1024), np.float32) if frames else None,
        silence=silence,
        windows=1,
        duration=1.0,
        weights=Weights("demo", "seed 0", "00ff", True),
        notes=("Demo weights.",),
        seconds=0.1,
        raw={},
    )


def write(folder: Path) -> Path:
    return folders.write_folder(folder, "a/speech.wav", prediction())


def write_many(folder: Path) -> list[Path]:
    return [write(folder) for _ in range(20)]


def test_the_layout_for_an_utterance():
    found = folders.result(prediction(), "a.wav", NOW)
    assert {key: found.pop(key) for key in ("file", "silence", "notes")} == {
        "file": "a.wav",
        "silence": False,
        "notes": ["Demo weights."],
    }
    assert found == {
        "emotion": "happy",
        "confidence": 0.75,
        "scores": {"happy": 0.75, "sad": 0.25},
        "granularity": "utterance",
        "timestamp": "2024-01-04 22:30:00",
    }


def test_the_layout_for_frames():
    found = folders.result(prediction(frames=3), "a.wav", NOW)
    assert (found["granularity"], found["frame_length_ms"]) == ("frame", 20)
    assert found["results"] == [
        {
            "start_time": start,
            "end_time": end,
            "emotion": emotion,
            "confidence": score,
            "scores": {"happy": happy, "sad": sad},
        }
        for start, end, emotion, score, happy, sad in [
            (0.0, 0.02, "happy", 0.9, 0.9, 0.1),
            (0.02, 0.04, "sad", 0.8, 0.2, 0.8),
            (0.04, 0.06, "happy", 0.9, 0.9, 0.1),
        ]
    ]


def test_silence_is_what_scripts_cope_with():
    found = folders.result(prediction(silence=True), "a.wav", NOW)
    assert (found["emotion"], found["confidence"], found["silence"]) == ("unknown", 0.5, True)
    rows = folders.result(prediction(frames=2, silence=True), "a.wav", NOW)["results"]
    assert {row["emotion"] for row in rows} == {"unknown"}


def test_a_folder(tmp_path: Path):
    folder = write(tmp_path)
    assert re.fullmatch(r"speech_\d{8}_\d{6}", folder.name)
    assert json.loads((folder / "result.json").read_text())["file"] == "a/speech.wav"
    assert np.load(folder / "embedding.npy").shape == (1024,)
    frames = folders.write_folder(tmp_path, "speech.wav", prediction(frames=3))
    assert np.load(frames / "embedding.npy").shape == (3, 1024)
    mask = os.umask(0)
    os.umask(mask)
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask  # as any other folder, not private


def test_threads_and_processes_never_share_a_folder(tmp_path: Path):
    """160 folders of one name, in a second or two, while somebody looks."""
    with ThreadPoolExecutor(4) as threads, multiprocessing.get_context("spawn").Pool(2) as processes:
        calls = processes.map_async(write_many, [tmp_path] * 4)
        mine = list(threads.map(write_many, [tmp_path] * 4))
        while not calls.ready():
            for folder in tmp_path.glob("speech_*"):
                assert sorted(os.listdir(folder)) == ["embedding.npy", "result.json"]
            time.sleep(0.01)
        folders = [folder for part in mine + calls.get() for folder in part]
    assert len(set(folders)) == len(folders) == 160
    assert sorted(folders) == sorted(tmp_path.iterdir())  # and no hidden one is left


def test_a_taken_name_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folders, "datetime", type("Clock", (), {"now": staticmethod(lambda: NOW)}))
    (tmp_path / "speech_20240104_223000").write_text("mine")
    assert [write(tmp_path).name for _ in range(2)] == ["speech_20240104_223000-2", "speech_20240104_223000-3"]
    assert (tmp_path / "speech_20240104_223000").read_text() == "mine"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("-", "stdin"),
        ("../a b.tar.gz", "a b.tar"),
        (".wav", "wav"),
        ("..", "recording"),
        ("愤怒" * 60 + ".wav", "愤怒" * 33),  # 198 bytes: no half character
        (os.fsdecode(b"caf\xe9.wav"), "caf"),
    ],
)
def test_names_of_folders(file: str, name: str, tmp_path: Path):
    assert folders.stem(file) == name
    folder = folders.write_folder(tmp_path, file, prediction())
    assert folder.parent == tmp_path and json.loads((folder / "result.json").read_text())["file"] == file


def test_nothing_is_left_of_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputFailed, match=r"' cannot be written: No space left on device\.$"):
        write(tmp_path)
    target = tmp_path / "out.npy"
    target.write_text("before")
    with pytest.raises(OutputFailed, match=r"out\.npy' cannot be written: No space"):
        folders.write_array(target, np.ones(3))
    assert list(tmp_path.iterdir()) == [target] and target.read_text() == "before"


def test_an_array_is_written_as_named(tmp_path: Path):
    target = tmp_path / "out"
    target.write_text("before")
    link = tmp_path / "link"
    link.symlink_to(target)
    folders.write_array(folders.file_for_array(link), np.arange(3))
    assert np.load(target).tolist() == [0, 1, 2] and link.is_symlink()


def test_places_that_cannot_be_written_to(tmp_path: Path):
    for place in (tmp_path, Path("/dev/null")):
        with pytest.raises(OutputFailed, match="is not a regular file"):
            folders.file_for_array(place)
    with pytest.raises(OutputFailed, match="is not a writable folder"):
        folders.file_for_array(tmp_path / "nowhere" / "out.npy")
    (tmp_path / "file").touch()
    with pytest.raises(OutputFailed, match=r"file' cannot be written: File exists\.$"):
        folders.folder_for_results(tmp_path / "file")
