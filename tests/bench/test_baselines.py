"""The baselines draw the pictures that the profiles draw, and answer what the network says, in order.

That the released pipeline draws what the profile `ccmusic` draws is tested in tests/preprocess/test_profiles.py.
"""

import copy
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from answers.activation import softmax
from bench.baselines import BaselineError, article_a, article_b, official, pictures, tagger
from bench.baselines.network import load_network
from bench.baselines.plain import ask, plain_server, write_plain_repository
from bench.baselines.worker import Worker
from bench.processes import cpu_seconds, pss_mb
from export.musicnn import MusiCNN
from preprocess import prepare
from sounds import recording
from systems import SYSTEMS
from tests.support.recordings import encode, music

VGG = "vgg19_bn_cqt"


@pytest.fixture(scope="module")
def short_recordings() -> list[bytes]:
    """More than one batch."""
    return [recording(family, seed=5, seconds=1.0 + family / 10) for family in range(10)]


@pytest.fixture
def tiny_network() -> nn.Module:
    """A seeded network that tells pictures apart; stride and size keep it fast."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 16, stride=16), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 14 * 14, 16)
    return nn.Sequential(*layers).eval()


def expected_answers(network: nn.Module, recordings: list[bytes], profile: str, spectrum: str) -> np.ndarray:
    """The network on our own pictures, a recording at a time, its slices averaged."""
    with torch.no_grad():
        rows = [torch.from_numpy(prepare(data, profile, spectrum=spectrum).rows) for data in recordings]
        return np.stack([softmax(network(r).numpy()).mean(axis=0) for r in rows])


@pytest.mark.parametrize("kind", ["mp3", "wav", "flac"])
@pytest.mark.parametrize("seconds", [1.5, 12.0, 30.0])
def test_pictures_are_those_of_the_profiles(seconds, kind):
    data = encode(music(seconds), 44100, kind)
    for draw, profile, spectrum in (
        (pictures.article_a, "article-a", "cqt"),
        (pictures.article_b, "article-b", "mel"),
    ):
        [row] = prepare(data, profile, spectrum=spectrum).rows
        np.testing.assert_allclose(draw(data), row, atol=1e-4)


def test_the_taggers_pipeline_is_ours_patch_by_patch():
    data = encode(music(10.0), 16000, "wav")
    rows = prepare(data, "musicnn", spectrum="mel").rows
    drawn = tagger.patches(data)
    assert len(drawn) == len(rows) == 9
    np.testing.assert_allclose(np.stack(drawn), rows[:, 0], atol=1e-4)
    network = MusiCNN(4, 2, 3, 8, 5).eval()
    with torch.inference_mode():
        expected = network(torch.from_numpy(rows))[1].sigmoid().mean(0)
    np.testing.assert_allclose(tagger.OneByOne(network).run([data])[0], expected, atol=1e-4)


def test_article_b_takes_the_middle_of_a_long_recording():
    samples = music(40.0)
    whole, middle = (encode(part, 44100, "wav") for part in (samples, samples[5 * 44100 : 35 * 44100]))
    np.testing.assert_allclose(pictures.article_b(whole), pictures.article_b(middle), atol=2e-2)


def test_answers_are_the_networks_in_order(short_recordings, tiny_network):
    long = [recording(family, seed=5, seconds=24.0) for family in (2, 9)]
    optimised = article_a.Optimised(copy.deepcopy(tiny_network), torch.float32)
    for baseline, recordings, profile, tolerance in (
        (article_a.OneByOne(tiny_network), short_recordings, "article-a", 1e-4),
        (optimised, short_recordings, "article-a", 1e-4),
        (article_b.ThreadPool(tiny_network), short_recordings, "article-b", 1e-4),
        (official.OneByOne(tiny_network), long, "ccmusic", 0.01),
    ):
        answers = baseline.run(recordings)
        expected = expected_answers(tiny_network, recordings, profile, baseline.spectrum)
        assert answers.dtype == np.float32 and answers.shape == (len(recordings), 16)
        np.testing.assert_allclose(answers, expected, atol=tolerance)
        # Nothing would be in order if all were the same.
        assert np.abs(answers - np.roll(answers, 1, axis=0)).max(axis=1).min() > 2 * tolerance


@pytest.fixture(scope="module")
def songs() -> list[bytes]:
    return [recording(family, seed=3, seconds=12.0) for family in (1, 12)]


@pytest.fixture(scope="module")
def network(repository) -> nn.Module:
    return load_network(VGG, repository)


@pytest.fixture(scope="module")
def answers(network, songs) -> np.ndarray:
    """Article A one by one in float32, by which the others are judged."""
    return article_a.OneByOne(network).run(songs)


def test_half_precision_answers_nearly_the_same(network, songs, answers):
    optimised = article_a.Optimised(copy.deepcopy(network))
    assert str(optimised.precision).removeprefix("torch.") in optimised.what
    np.testing.assert_allclose(optimised.run(songs), answers, atol=3e-2)


@pytest.mark.slow
def test_plain_triton_answers_the_same(repository, songs, answers, tmp_path):
    model = write_plain_repository(tmp_path, repository / f"{VGG}_network" / "1" / "model.onnx")
    assert model == "plain"
    with plain_server(tmp_path) as server:
        found = np.stack([softmax(ask(server.http, song)) for song in songs])
        assert cpu_seconds(server.pid) > 0 and pss_mb(server.pid) > 100
        pid = server.pid
    np.testing.assert_allclose(found, answers, atol=1e-3)
    assert not Path(f"/proc/{pid}").exists()


def test_a_plain_triton_that_does_not_start_says_why(tmp_path):
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "config.pbtxt").write_text('name: "broken" backend: "nothing" max_batch_size: 0')
    with pytest.raises(BaselineError, match="the plain Triton stopped: .*broken"), plain_server(tmp_path):
        pass


def test_a_plain_repository_needs_a_network(tmp_path):
    with pytest.raises(BaselineError, match=r"model\.onnx is missing: run make export"):
        write_plain_repository(tmp_path / "plain", tmp_path / "model.onnx")


@pytest.fixture
def own_weights(repository, tmp_path, monkeypatch) -> Path:
    """Checkpoint of a repository whose manifest says that it was exported from the folder `mine`."""
    manifest = repository / f"{VGG}_network" / "1" / "manifest.json"
    copied = tmp_path / "repository" / f"{VGG}_network" / "1"
    copied.mkdir(parents=True)
    text = manifest.read_text().replace('"demo",', '"directory",', 1).replace('"generated"', '"mine"')
    (copied / manifest.name).write_text(text)
    checkpoint = tmp_path / "mine" / VGG / "save.safetensors"
    checkpoint.parent.mkdir(parents=True)
    monkeypatch.setenv("CHECKPOINTS", str(tmp_path / "mine"))
    return checkpoint


def test_own_weights_are_found_where_checkpoints_says(own_weights, network, tmp_path):
    own_weights.symlink_to(Path("checkpoints/demo", VGG, own_weights.name).resolve())
    loaded = load_network(VGG, tmp_path / "repository")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)


def test_weights_that_are_gone_or_others_are_refused(own_weights, tmp_path):
    with pytest.raises(BaselineError, match=r"save\.safetensors, are missing; run make export"):
        load_network(VGG, tmp_path / "repository")
    own_weights.write_bytes(b"others")
    with pytest.raises(BaselineError, match=f"is not what {VGG} was exported from"):
        load_network(VGG, tmp_path / "repository")
    shutil.rmtree(tmp_path / "repository")
    with pytest.raises(BaselineError, match="has no weights .*: run make export"):
        load_network(VGG, tmp_path / "repository")


def test_a_worker_measures_waits_and_tells_its_errors(repository, songs, answers):
    with Worker("article_a.OneByOne", VGG, repository) as worker:
        assert (worker.name, worker.what) == (article_a.OneByOne.name, article_a.OneByOne.what)
        with pytest.raises(BaselineError, match=r"^article_a\.OneByOne failed: \w+: .*") as failure:
            worker.run([b"no song"])
        assert "\n" not in str(failure.value)
        run = worker.run(songs)
        np.testing.assert_allclose(run.probabilities, answers, atol=1e-5)
        assert 0 < run.seconds < 60 and 0 < run.cpu_seconds < 60 and 300 < run.peak_mb < 8000
        time.sleep(0.5)  # OpenMP's threads spin for a moment
        before = cpu_seconds(worker.pid)
        time.sleep(1)
        assert cpu_seconds(worker.pid) - before <= 0.02
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(BaselineError, match="ended with exit code -9"):
            worker.run(songs)


def test_a_worker_that_cannot_start_says_why(repository, tmp_path):
    with pytest.raises(BaselineError, match="There is no baseline 'article_c'; choose one of article_a.OneByOne"):
        Worker("article_c", VGG)
    with pytest.raises(BaselineError, match=f"There is no system 'vgg'; choose one of {', '.join(SYSTEMS)}"):
        Worker("article_a.OneByOne", "vgg")
    with pytest.raises(BaselineError, match=f"failed: it draws mel spectrograms, {VGG} was trained on cqt"):
        Worker("article_b.ThreadPool", VGG, repository).__enter__()
    with pytest.raises(BaselineError, match="has no weights .*: run make export"):
        Worker("article_a.OneByOne", VGG, tmp_path).__enter__()
