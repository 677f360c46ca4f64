"""The sinc resampler against its formula, evaluated sample by sample, and against torchaudio's numbers."""

import math

import librosa
import numpy as np
import pytest

from preprocess.resample import SincResampler, soxr_hq
from tests.support.recordings import music

RATES = [1000, 4000, 8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000, 96000, 192_000, 44_101]

# sin(0.01 i²), i = 0..59, through torchaudio 2.5.1's transforms.Resample(sr, 16000): the first twelve samples.
TORCHAUDIO = {
    44100: "0.000136 0.074845 0.299063 0.631449 0.93849 0.946861 0.393918 -0.548466 -0.985946 -0.133332 0.967905"
    " 0.238438",
    48000: "-0.000058 0.088382 0.352345 0.724964 0.992301 0.775993 -0.098096 -0.950325 -0.507162 0.850316 0.418664"
    " -1.021247",
    22050: "0.000175 0.019051 0.076184 0.170354 0.299446 0.457343 0.631778 0.801949 0.937353 0.999226 0.946362"
    " 0.746862",
    8000: "0.000017 0.00305 0.010022 0.022602 0.040009 0.062823 0.089907 0.12251 0.159341 0.201539 0.247431"
    " 0.298343",
}


def resample(y: np.ndarray, sr_in: int, sr: int = 16000) -> np.ndarray:
    return SincResampler(sr_in, sr).resample_chunk(y, last=True)


def formula(x: np.ndarray, sr_in: int, sr: int, outputs: np.ndarray) -> np.ndarray:
    """Each output is a sum over the whole input, in float64 and in seconds."""
    cutoff = 0.99 * min(sr_in, sr)  # twice the frequency, Hz
    t = (np.arange(len(x)) / sr_in - outputs[:, None] / sr) * cutoff
    window = np.where(np.abs(t) < 6, np.cos(np.pi * t / 12) ** 2, 0)
    return (np.sinc(t) * window * cutoff / sr_in) @ x.astype(np.float64)


@pytest.mark.parametrize("sr", RATES)
@pytest.mark.parametrize("n", [1, 100, 3001, 60_007])
def test_equals_the_formula(sr, n):
    x = np.random.default_rng(sr + n).uniform(-1, 1, n).astype(np.float32)
    y = resample(x, sr)
    assert y.dtype == np.float32 and len(y) == math.ceil(n * 16000 / sr)
    edges = min(60, len(y))
    some = np.random.default_rng(0).integers(0, len(y), 20)
    outputs = np.unique(np.concatenate([np.arange(edges), len(y) - 1 - np.arange(edges), some]))
    np.testing.assert_allclose(y[outputs], formula(x, sr, 16000, outputs), atol=3e-6)


@pytest.mark.parametrize("sr", TORCHAUDIO)
def test_equals_torchaudio(sr):
    expected = np.array([float(value) for value in TORCHAUDIO[sr].split()])
    y = resample(np.sin(0.01 * np.arange(60) ** 2).astype(np.float32), sr)
    # torchaudio rounds the phases of its filters to float32, which shows in the fifth digit.
    np.testing.assert_allclose(y[:12], expected, atol=2e-5)


@pytest.mark.parametrize("sr", [8000, 22050, 44100, 48000])
def test_tones_stay_what_is_above_the_new_rate_goes(sr):
    def tone(frequency: float, rate: int) -> np.ndarray:
        return np.cos(2 * np.pi * frequency * np.arange(rate) / rate).astype(np.float32)

    inside = slice(50, -50)  # beyond the ends there is silence
    for frequency in (0, 440, 2000):
        y = resample(tone(frequency, sr), sr)
        np.testing.assert_allclose(y[inside], tone(frequency, 16000)[inside], atol=1e-2 if sr == 8000 else 1e-3)
    for frequency, db in ((10_000, -40), (15_000, -70), (20_000, -80)):
        if frequency < sr / 2:
            assert 20 * np.log10(np.abs(resample(tone(frequency, sr), sr)[inside]).max()) < db


@pytest.mark.parametrize("sr", [8000, 16000, 44100, 48000, 192_000])
def test_odd_blocks_give_the_bits_of_one_call(sr):
    y = music(9.7, sr, 1)
    whole = resample(y, sr)
    for sizes in ([1, 2, 3, 441, 0, 65_537], [1_000_003], [8192]):
        stream, parts, start = SincResampler(sr, 16000), [], 0
        for k in range(10**6):
            block = y[start : start + sizes[k % len(sizes)]]
            parts.append(stream.resample_chunk(block))
            start += len(block)
            if start == len(y):
                break
        parts.append(stream.resample_chunk(y[:0], last=True))
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_memory_is_not_that_of_the_whole_recording():
    """What is ready is handed out at once."""
    stream = SincResampler(44100, 16000)
    given = sum(len(stream.resample_chunk(np.zeros(65_536, np.float32))) for _ in range(20))
    assert given > 17 * 65_536 * 16000 / 44100


def test_equal_rates_change_nothing():
    y = music(0.1, 16000, 1)
    np.testing.assert_array_equal(resample(y, 16000), y)


def test_soxr_hq_is_librosas_default():
    y = music(2.0, 44100, 1)
    expected = librosa.resample(y, orig_sr=44100, target_sr=22050)
    np.testing.assert_allclose(soxr_hq(44100, 22050).resample_chunk(y, last=True), expected, atol=1e-6)
