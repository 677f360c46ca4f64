"""The benchmark's input is what Triton reads, and a short run of it measures the real server."""

import base64
import csv
import io
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile as sf

from bench.__main__ import find_perf_analyzer, table
from bench.perf_input import write_input
from bench.recordings import recording
from tests.conftest import ROOT


def test_input_holds_the_files_behind_their_length(tmp_path):
    path = write_input(tmp_path / "input.json", [b"abc", b"\x00defg\x00"], {"top_k": 2})
    entries = json.loads(path.read_text())["data"]
    contents = [base64.b64decode(entry["AUDIO"]["content"]["b64"]) for entry in entries]
    assert [content[4:] for content in contents] == [b"abc", b"\x00defg\x00"]
    assert [struct.unpack("<I", content[:4])[0] for content in contents] == [3, 6]
    assert all(base64.b64decode(entry["OPTIONS"]["content"]["b64"])[4:] == b'{"top_k": 2}' for entry in entries)


@pytest.mark.parametrize("kind", ["MP3", "WAV", "FLAC"])
def test_recordings_are_stereo_and_distinct(kind):
    one, other = (recording(4, seed=seed, seconds=3.0, kind=kind) for seed in (1, 2))
    samples, sr = sf.read(io.BytesIO(one))
    assert (sr, samples.shape[1]) == (44100, 2) and abs(len(samples) / sr - 3.0) < 0.1
    assert np.abs(samples[:, 0] - samples[:, 1]).max() > 0.01
    assert one != other


def test_table_is_markdown():
    assert table([{"a": 1, "b": 2.5}]) == "| a | b |\n| --- | --- |\n| 1 | 2.5 |"


def test_a_missing_perf_analyzer_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "requirements/client.txt" in find_perf_analyzer()


def test_a_short_run_measures_the_server(repository, tmp_path):
    tool = find_perf_analyzer()
    if isinstance(tool, str):
        pytest.skip(tool)
    environment = {**os.environ, "TRITONE_MODEL_REPOSITORY": str(repository)}
    command = [
        sys.executable,
        "-m",
        "bench",
        "--quick",
        "--profile",
        "article-a",
        "--variant",
        "onnxruntime",
        f"--results={tmp_path}",
    ]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = json.loads((tmp_path / "summary.json").read_text())["rows"]
    assert [row["concurrency"] for row in rows] == [1, 4, 8]
    assert all(row["recordings/s"] > 0.5 and row["p50 ms"] > 1 for row in rows)
    assert rows[0]["mean batch"] == 1 and rows[2]["mean batch"] > 2
    raw = list(csv.DictReader((tmp_path / "vgg19_bn_cqt-onnxruntime-article-a.csv").open()))
    assert [row["Concurrency"] for row in raw] == ["1", "4", "8"]
    assert "| article-a | 8 |" in run.stdout
