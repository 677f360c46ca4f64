"""The harness: its input is what Triton reads, and what it measures adds up."""

import base64
import io
import json
import os
import statistics
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
from tritone_client import Client

from bench.compare import Turn, compare
from bench.errors import BenchError
from bench.ideal import Ideal
from bench.kernels import measure_kernels
from bench.perf import find_perf_analyzer, measure
from bench.perf_input import write_input
from bench.processes import cpu_seconds, family, peak_of_children, pss_mb
from bench.stages import NOT_SERVING, PREPARATION, measure_stages
from server.embedded import embedded
from sounds import collection, recording
from tests.bench.clock import Clock
from tests.support.project import ROOT, UNASKED

MODEL = "vgg19_bn_cqt"


def test_input_holds_the_files_behind_their_length(tmp_path):
    path = write_input(tmp_path / "input.json", [b"abc", b"\x00defg\x00"], {"top_k": 2})
    entries = json.loads(path.read_text())["data"]
    contents = [base64.b64decode(entry["AUDIO"]["content"]["b64"]) for entry in entries]
    assert [content[4:] for content in contents] == [b"abc", b"\x00defg\x00"]
    assert [struct.unpack("<I", content[:4])[0] for content in contents] == [3, 6]
    assert all(base64.b64decode(entry["OPTIONS"]["content"]["b64"])[4:] == b'{"top_k": 2}' for entry in entries)
    plain = json.loads(write_input(tmp_path / "plain.json", [b"abc"], None).read_text())["data"]
    assert list(plain[0]) == ["AUDIO"]


@pytest.mark.parametrize("kind", ["MP3", "WAV", "FLAC"])
def test_recordings_are_stereo_and_distinct(kind):
    one, other = (recording(4, seed=seed, seconds=3.0, kind=kind) for seed in (1, 2))
    samples, sr = sf.read(io.BytesIO(one))
    assert (sr, samples.shape[1]) == (44100, 2) and abs(len(samples) / sr - 3.0) < 0.1
    assert np.abs(samples[:, 0] - samples[:, 1]).max() > 0.01
    assert one != other


def test_a_missing_perf_analyzer_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(BenchError, match="requirements/client.txt"):
        find_perf_analyzer()


def test_a_family_is_counted_with_its_grandchildren():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
    busy = "x = bytearray(50_000_000)\nwhile True: pass"
    with (
        peak_of_children() as peak,
        subprocess.Popen([sys.executable, "-c", code.format(busy)], start_new_session=True) as child,
    ):
        try:
            deadline = time.monotonic() + 20
            while cpu_seconds(child.pid) < 0.5 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(family(child.pid)) == 2
            assert cpu_seconds(child.pid) >= 0.5 and pss_mb(child.pid) > 50 and peak[0] > 50
        finally:
            os.killpg(child.pid, 9)


class Scripted:
    """A pipeline with known rates."""

    what = "test"

    def __init__(self, name, rates, answers):
        self.name, self._rates, self._answers = name, iter(rates), np.array(answers, np.float32)

    def turn(self):
        return Turn(next(self._rates), 10.0, None, 2.0)

    def probabilities(self):
        return self._answers


def test_pipelines_are_compared_round_by_round():
    first = Scripted("first", [1, 2, 4], [[0.9, 0.1], [0.2, 0.8]])
    other = Scripted("other", [3, 4, 20], [[0.8, 0.2], [0.6, 0.4]])
    rows = compare([first, other], 3, lambda line: None)
    assert [row["rate"] for row in rows] == [2, 4]
    assert rows[1]["times"] == 3  # median of 3, 2 and 5, whatever the machine did meanwhile
    assert (rows[1]["slowest"], rows[1]["fastest"], rows[1]["memory_mb"]) == (3, 20, None)
    assert rows[1]["agreement"] == 0.5 and rows[1]["difference"] == pytest.approx(0.4)


def test_kernels_equal_librosa():
    for row in measure_kernels([recording(3, seed=5, seconds=4.0)], repeats=1):
        assert row["difference"] < 1e-5 and row["ours_ms"] > 0 and row["librosa_ms"] > 0


def test_floor_is_the_sum_of_its_parts_on_all_cores(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)

    def network(rows):
        clock.tell(20 * len(rows))
        return np.zeros((len(rows), 3), np.float32)

    monkeypatch.setattr("bench.ideal.load_network", lambda folder, variant: network)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)))
    ideal = Ideal(MODEL, "onnxruntime", "ccmusic", "cqt", [recording(1, seed=2, seconds=24.0)])
    turn = ideal.turn()
    assert ideal.parts["rows"] == 2 and ideal.parts["network_ms"] == pytest.approx(20_000, rel=0.01)
    assert 1e3 / turn.rate == pytest.approx(ideal.parts["prepare_ms"] / 4 + 2 * ideal.parts["network_ms"])


@pytest.fixture(scope="module")
def uncached(repository):
    with embedded(
        f"--model-repository={repository}",
        f"--systems={MODEL}",
        "--variant=onnxruntime",
        "--cache-size=0",
        UNASKED,
    ) as server:
        yield server


@pytest.mark.slow
def test_perf_analyzer_measures_the_server(uncached, tmp_path):
    data = write_input(tmp_path / "data.json", collection(4, seconds=2.0), {"profile": "article-a"})
    alone, busy = (measure(uncached, MODEL, data, concurrency=c, seconds=1) for c in (1, 8))
    assert alone.mean_batch == 1 and busy.mean_batch > 1.5
    assert alone.p50 < busy.p50 <= busy.p95 <= busy.p99
    # What one client at a time gets is one over what it waits.
    assert alone.rate == pytest.approx(1000 / alone.p50, rel=0.5)
    assert 10 < alone.cpu < 4000 and alone.requests > 3 and 0 <= alone.transport < alone.p50
    arriving = measure(uncached, MODEL, data, rate=4, seconds=2)
    assert arriving.rate < 3 < busy.rate


def test_stages_add_up_to_what_the_client_waits(uncached, tmp_path, monkeypatch):
    songs = collection(4, seconds=6.0)
    data = write_input(tmp_path / "data.json", songs, {"profile": "article-a"})
    waited = []

    class Timed(Client):
        """Each call timed from outside: measured at another time, the machine may be twice as busy."""

        def classify(self, *arguments, **options):
            start = time.perf_counter()
            prediction = super().classify(*arguments, **options)
            waited.append((time.perf_counter() - start) * 1e3)
            return prediction

    monkeypatch.setattr("bench.stages.Client", Timed)
    monkeypatch.setattr("bench.stages.time", SimpleNamespace(perf_counter=lambda: sum(waited) / 1e3))
    stages = measure_stages(uncached, MODEL, songs, "article-a", data, seconds=1)
    assert list(stages)[:5] == list(PREPARATION) and set(NOT_SERVING) <= set(stages)
    assert stages["network"] > stages["spectrogram"] > 0 and stages["decode"] > 0
    _, *timed = waited  # the first warms up
    assert len(timed) == 4 and sum(stages.values()) == pytest.approx(statistics.fmean(timed))


@pytest.mark.slow
def test_the_quick_benchmark_runs_from_end_to_end(tmp_path):
    command = [sys.executable, "-m", "bench", "--quick", "--variant=onnxruntime", f"--results={tmp_path}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    results = json.loads((tmp_path / "bench.json").read_text())
    rows = {row["name"]: row for row in results["comparison"]["rows"]}
    assert rows["Tritone, onnxruntime"]["agreement"] == 1 and rows["Tritone, onnxruntime"]["difference"] < 1e-3
    assert results["repeat"]["hit_ratio"] == 1 and results["repeat"]["p50"] < rows["article A"]["cpu_ms"]
    assert "article A" in run.stdout and (tmp_path / "throughput.png").stat().st_size > 10_000
