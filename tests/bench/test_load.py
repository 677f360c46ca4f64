"""perf_analyzer as `make load` runs it, against a small real Triton."""

import json
import subprocess
from pathlib import Path

import pytest

from bench import load
from sounds import recording
from tests.support.project import ROOT
from tests.support.triton import Triton


def test_a_running_server_is_measured_with_the_recording(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(load, "WINDOW_MS", 300)
    song, data = tmp_path / "a song.mp3", tmp_path / "data" / "load.json"
    song.write_bytes(recording(3, seed=21, seconds=2.0))
    with Triton(tmp_path) as server:
        address = f"grpc://127.0.0.1:{server.grpc_port}"
        code = load.main([str(song), f"--url={address}", "--concurrency=2", f"--data={data}"])
    shown = capfd.readouterr().out
    assert code == 0, shown
    assert "Request concurrency: 2" in shown and "Throughput: " in shown
    [command] = [line.removeprefix("$ ") for line in shown.splitlines() if line.startswith("$ ")]
    assert f"--input-data {data}" in command and "LD_LIBRARY_PATH=" in command
    assert len(json.loads(data.read_text())["data"]) == 1 and "TRITONE_CACHE_SIZE=0" in shown


def test_what_is_no_file_is_one_sentence(capsys, tmp_path):
    assert load.main([str(tmp_path / "none.mp3"), f"--data={tmp_path / 'd.json'}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("given", "flag"), [("SYSTEM=a", "--system=a"), ("URL=b:1", "--url=b:1")])
def test_make_passes_what_it_is_given(given, flag):
    done = subprocess.run(["make", "-n", "load", "SONG=x", given], cwd=ROOT, capture_output=True, text=True)
    assert flag in done.stdout


def test_the_command_in_the_documentation_is_the_one_that_runs(monkeypatch):
    monkeypatch.setattr(load, "find_perf_analyzer", lambda: [])
    words = load.perf_command("vgg19_bn_cqt", "127.0.0.1:8001", "1:4", load.DATA)
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert " ".join(words).partition(" --measurement-interval")[0] in " ".join(page.split())


def test_the_default_data_is_ignored_by_git():
    assert Path(load.DATA).parts[0] == ".cache"
