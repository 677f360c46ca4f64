"""The benchmark of the speech system: its baseline is the network's own arithmetic, its figures add up."""

import io
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import torch

from bench import __main__ as command
from bench import speech
from bench.baselines import BaselineError, article_c
from bench.baselines.worker import Worker
from bench.ideal import SpeechIdeal
from bench.report import read_results
from bench.suite import Scale
from export.emotion2vec import Config, Emotion2Vec
from preprocess import prepare_speech
from preprocess.resample import SincResampler
from sounds import utterance, utterances
from tests.bench.clock import Clock

LENGTHS = np.linspace(1.0, 2.0, 8)


@pytest.fixture(scope="module")
def network() -> Emotion2Vec:
    """A small seeded network, no weight of which is zero or one, that gives each recording scores of its own."""
    config = Config(embed_dim=32, num_heads=4, prenet_depth=1, depth=1, conv_dim=16, conv_pos_groups=4)
    network, generator = Emotion2Vec(config).eval(), torch.Generator().manual_seed(0)
    for parameter in network.requires_grad_(False).parameters():
        parameter.normal_(std=max(parameter[0].numel(), 4) ** -0.5, generator=generator)
    logits = torch.cat([answer(network, recording) for recording in utterances(LENGTHS)])
    network.proj.bias.sub_(logits.mean(0))
    for parameter in network.proj.parameters():
        parameter.div_(logits.std(0).mean())
    return network


def answer(network: Emotion2Vec, recording: bytes) -> torch.Tensor:
    """Logits [1, 9], with padding and masks."""
    prepared = prepare_speech(recording)
    return network(torch.from_numpy(prepared.wav), torch.from_numpy(prepared.lengths))[3]


def test_utterances_are_distinct_and_not_sorted():
    files = utterances(LENGTHS)
    infos = [sf.info(io.BytesIO(file)) for file in files]
    assert [(info.format, info.samplerate, info.channels) for info in infos] == [
        *[("WAV", 16000, 1)] * 3,
        ("MP3", 44100, 2),
    ] * 2
    found = [info.duration for info in infos]
    np.testing.assert_allclose(sorted(found), LENGTHS, atol=0.06)  # MP3 comes in blocks
    assert len(set(files)) == 8 and found not in (sorted(found), sorted(found, reverse=True))
    assert utterances(LENGTHS) == files


@pytest.mark.parametrize("sr", [8000, 11025, 22050, 44100, 48000])
def test_baseline_resamples_as_torchaudio(sr):
    y = np.random.default_rng(0).standard_normal(sr + 7, dtype=np.float32)
    expected = SincResampler(sr, 16000).resample_chunk(y, last=True)  # tested against the formula itself
    found = article_c.resample(torch.from_numpy(y)[None], sr)
    assert found.shape == (1, len(expected)) and found.dtype == torch.float32
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-6)


def test_baseline_answers_what_the_masked_network_answers(network):
    recordings = utterances(LENGTHS)
    with torch.no_grad():
        expected = torch.cat([answer(network, recording).softmax(1) for recording in recordings]).numpy()
    found = article_c.OneByOne(network).run(recordings)
    assert found.shape == (8, 9) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # Nothing would be in order if all were the same.
    assert np.abs(found - np.roll(found, 1, axis=0)).max(axis=1).min() > 1e-2


def test_baseline_is_refused_for_pictures(repository):
    with pytest.raises(BaselineError, match="it draws no spectrograms, vgg19_bn_cqt was trained on cqt"):
        Worker("article_c.OneByOne", "vgg19_bn_cqt", repository).__enter__()


def test_floor_takes_every_recording_at_its_own_length(monkeypatch):
    seconds_of_row = {}
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)

    def fake(wav, lengths):
        assert lengths.shape == (len(wav), 1)
        seconds_of_row[wav.shape[1]] = wav.shape[1] / 16000
        clock.tell(wav.shape[1] / 16000 * 10 * (len(wav) + 1))  # two rows cost three halves of twice one
        return np.zeros((len(wav), 9), np.float32)

    monkeypatch.setattr("bench.ideal.load_network", lambda folder, variant: fake)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)))
    recordings = [utterance(0, 1.0), utterance(1, 4.0), utterance(2, 4.0)]
    ideal = SpeechIdeal(speech.MODEL, "onnxruntime", recordings)
    turn = ideal.turn()
    short, long = sorted(seconds_of_row.values())
    assert ideal.parts["batch"] == 2 and ideal.parts["rows"] == 1
    assert ideal.parts["network_ms"] == pytest.approx((short + 2 * long) / 3 * 15_000, rel=0.01)
    assert 1e3 / turn.rate == pytest.approx(ideal.parts["prepare_ms"] / 4 + ideal.parts["network_ms"])
    np.testing.assert_allclose(ideal.probabilities(), 1 / 9, atol=1e-6)


class Answering:
    """A client whose first answer for a recording takes 40 s and later ones 10 s; all that is asked is kept."""

    asked: list
    clock: Clock

    def __init__(self, grpc):
        self.lock = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def ping(self):
        pass

    def emotion(self, recording, *, model, **options):
        with self.lock:
            known = recording in [other for other, _ in self.asked]
            self.asked.append((recording, options))
        self.clock.tell(10 if known else 40)


@pytest.fixture
def answering(monkeypatch):
    monkeypatch.setattr(speech, "Client", Answering)
    monkeypatch.setattr(Answering, "asked", [], raising=False)
    monkeypatch.setattr(Answering, "clock", Clock(), raising=False)
    monkeypatch.setattr(time, "perf_counter", Answering.clock)
    return Answering


def test_first_requests_are_compared_with_later_ones_of_their_length(answering):
    found = speech.first_requests(SimpleNamespace(grpc=""), 1)
    assert [row["seconds"] for row in found] == [3.7, 6.2, 9.4, 1.3]  # the second start begins with the second
    assert [row["very_first"] for row in found] == [True, False, False, False]
    for row in found:
        assert row["first"] == pytest.approx(40_000, rel=0.01) and row["start"] == 1
        assert row["ratio"] == pytest.approx(4, rel=0.01)


def test_memory_is_looked_at_after_so_many_mixed_requests(answering, monkeypatch, tmp_path):
    monkeypatch.setattr(speech, "utterances", lambda lengths: [f"{seconds:g} s" for seconds in lengths])
    scale = Scale(3, 1, 1.0, (), (), 0, 1, 0)
    server = SimpleNamespace(grpc="", pid=0)
    monkeypatch.setattr(speech, "pss_mb", lambda pid: float(len(answering.asked)))
    monkeypatch.setattr(speech, "find_perf_analyzer", lambda: [])
    memory = speech.SpeechSuite(scale, "auto", tmp_path)._memory(server)
    assert memory["samples"] == [{"requests": n, "mb": n} for n in (50, 150, 250, 350, 450, 550)]
    assert memory["seconds"] == [0.5, 40.0]
    kinds = {(recording, bool(options)) for recording, options in answering.asked}
    assert len(kinds) == 100  # every length, with and without frames


def test_every_thread_of_perf_analyzer_sends_every_utterance(monkeypatch, tmp_path):
    monkeypatch.setattr(speech, "find_perf_analyzer", lambda: [])
    for recordings in (8, 9, 16):
        n = len(speech.SpeechSuite(Scale(recordings, 1, 1.0, (), (), 0, 0, 0), "auto", tmp_path).recordings)
        assert n - recordings in (0, 1) and {8 * k % n for k in range(n)} == set(range(n))


@pytest.mark.slow
def test_the_speech_benchmark_runs_from_end_to_end(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["bench", "--only=speech", "--quick", f"--results={tmp_path}"])
    assert command.main() == 0
    figures = read_results(tmp_path / "speech.json")["speech"]
    rows = {row["name"].partition(",")[0]: row for row in figures["rows"]}
    assert rows["ideal"]["rate"] > 0.8 * rows["Tritone"]["rate"] > rows["article C"]["rate"] / 2
    assert all(row["agreement"] > 0.8 and row["difference"] < 0.1 for row in rows.values())
    assert len(figures["first"]) == 8 and [row["concurrency"] for row in figures["load"]] == [1, 8]
