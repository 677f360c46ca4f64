"""`tritone emotion`, as a user runs it: in a process of its own."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.command import tritone
from tests.support.triton import Triton

HAPPY, CHANGING, SILENT = bytes([3] * 100), bytes([4] * 50 + [3] * 100), b"\xff" * 50


def run(triton: Triton, *args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return tritone("emotion", *args, "--url", triton.grpc, **kwargs)


@pytest.fixture
def speech(tmp_path: Path) -> list[Path]:
    """Three recordings; two have the same name, in different folders."""
    paths = [tmp_path / "a" / "call.wav", tmp_path / "b" / "call.wav", tmp_path / "b" / "quiet.wav"]
    for path, data in zip(paths, (HAPPY, CHANGING, SILENT), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return paths


def test_a_table(triton: Triton, speech: list[Path]):
    done = run(triton, *speech)
    assert done.returncode == 0 and done.stderr.count("demo weights") == done.stderr.count("\n") == 1
    rows = [line.split("\t")[:5] for line in done.stdout.splitlines()]
    assert rows[0] == [str(speech[0]), "happy", "0.6000", "angry 5%, disgusted 5%, fearful 5%", "happy 0.0–2.0"]
    assert rows[1][1] == "happy" and rows[1][3].startswith("neutral 23%, angry 5%")
    assert rows[2] == [str(speech[2]), "silence", "", "", ""]


def test_a_timeline(triton: Triton, speech: list[Path]):
    (speech[1].parent / "many.wav").write_bytes(bytes([3, 4] * 10))
    done = run(triton, "call.wav", "many.wav", "--granularity", "frame", cwd=speech[1].parent)
    call, many = (line.split("\t")[4] for line in done.stdout.splitlines())
    assert done.returncode == 0 and call == "neutral 0.0–1.0, happy 1.0–3.0"
    assert many.count(", ") == 19  # all of them


def test_json_lines_and_failures_among_them(triton: Triton, speech: list[Path]):
    done = run(triton, *speech[1:], "/nowhere.wav", "--json", "--granularity", "frame", "--smoothing", "0.1")
    assert done.returncode == 1 and done.stderr == ""
    changing, silent, missing = map(json.loads, done.stdout.splitlines())
    assert changing["emotion"] == "happy" and np.shape(changing["frame_scores"]) == (150, 9)
    assert changing["echo"]["options"] == {"smoothing": 0.1}
    assert silent["emotion"] is silent["confidence"] is None and silent["silence"]
    assert missing["cause"] == "InvalidRecording"


@pytest.mark.parametrize(("granularity", "shape"), [("utterance", (1024,)), ("frame", (100, 1024))])
def test_an_embedding(
    triton: Triton, speech: list[Path], tmp_path: Path, granularity: str, shape: tuple[int, ...]
):
    target = tmp_path / "out.npy"
    done = run(triton, speech[0], "--embedding", target, "--granularity", granularity)
    assert done.returncode == 0 and np.load(target).shape == shape
    assert f"tritone: wrote {target}\n" in done.stderr


def test_an_embedding_of_several_is_refused(triton: Triton, speech: list[Path], tmp_path: Path):
    done = run(triton, *speech, "--embedding", tmp_path / "out.npy", env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 2 and done.stdout == ""
    assert "It takes one file, not 3: use --output-dir for several." in done.stderr
    assert not (tmp_path / "out.npy").exists()


def test_an_output_directory(triton: Triton, speech: list[Path], tmp_path: Path):
    results = tmp_path / "new" / "results"
    done = run(triton, *speech, "/nowhere.wav", "--output-dir", results, "--json")
    assert done.returncode == 1 and done.stderr == ""
    *lines, missing = map(json.loads, done.stdout.splitlines())
    folders = [Path(line["folder"]) for line in lines]
    assert "folder" not in missing and sorted(folders) == sorted(results.iterdir()) and len(set(folders)) == 3
    found = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert [one["file"] for one in found] == [str(path) for path in speech]
    assert [one["emotion"] for one in found] == ["happy", "happy", "unknown"]
    assert all(np.load(folder / "embedding.npy").shape == (1024,) for folder in folders)
    done = run(triton, *speech, "--output-dir", results)
    new = set(results.iterdir()) - set(folders)
    assert done.returncode == 0 and len(new) == 3
    assert {Path(line.split(" ", 2)[2]) for line in done.stderr.splitlines() if "wrote" in line} == new


def test_a_place_that_cannot_be_written_to_is_told_at_once(triton: Triton, speech: list[Path]):
    done = run(triton, *speech, "--output-dir", speech[0])
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("tritone: ") and "cannot be written: File exists." in done.stderr


def test_a_genre_system_names_its_command(triton: Triton, speech: list[Path]):
    done = run(triton, speech[0], "--model", "vgg19_bn_cqt", "--json")
    assert done.returncode == 1 and "`tritone classify`" in json.loads(done.stdout)["error"]
