"""CQT, mel and decibels against librosa."""

import librosa
import numpy as np
import pytest

from preprocess.spectrum import amplitude_to_db, cqt, mel, mel_filters, power_to_db
from tests.support.recordings import music

LENGTHS = [1, 3, 100, 512, 513, 5000, 22050, 250_007, 661_500]


def signal(n: int) -> np.ndarray:
    return music(max(n / 22050, 0.1) + 0.01, 22050, 1)[:n]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.filterwarnings("ignore:n_fft")
def test_cqt_equals_librosa(n):
    y = signal(n)
    expected = np.abs(librosa.cqt(y, sr=22050))
    result = cqt(y)
    assert result.shape == expected.shape and result.dtype == np.float32
    assert np.abs(result - expected).max() <= 1e-5 * expected.max()


@pytest.mark.parametrize("hop_length", [64, 256])
def test_cqt_with_another_hop(hop_length):
    y = signal(50_000)
    expected = np.abs(librosa.cqt(y, sr=22050, hop_length=hop_length))
    assert np.abs(cqt(y, hop_length=hop_length) - expected).max() <= 1e-5 * expected.max()


def test_cqt_refuses_a_hop_that_cannot_be_halved():
    with pytest.raises(ValueError, match="hop_length=500 must be a multiple of 64"):
        cqt(signal(5000), hop_length=500)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize(("n_fft", "hop_length", "n_mels"), [(2048, 512, 128), (1024, 256, 40)])
@pytest.mark.filterwarnings("ignore:n_fft")
def test_mel_equals_librosa(n, n_fft, hop_length, n_mels):
    y = signal(n)
    arguments = {"sr": 22050, "n_fft": n_fft, "hop_length": hop_length, "n_mels": n_mels}
    expected = librosa.feature.melspectrogram(y=y, **arguments)
    result = mel(y, **arguments)
    assert result.shape == expected.shape and result.dtype == np.float32
    assert np.abs(result - expected).max() <= 1e-5 * expected.max()


@pytest.mark.parametrize(("sr", "n_fft", "n_mels"), [(22050, 2048, 128), (16000, 512, 80), (1500, 256, 10)])
def test_mel_filters_equal_librosa(sr, n_fft, n_mels):
    expected = librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=n_mels)
    np.testing.assert_allclose(mel_filters(sr, n_fft, n_mels), expected, atol=1e-7)


def test_decibels_equal_librosa():
    power = np.concatenate([[0, 1e-12], np.logspace(-9, 3, 50)]).astype(np.float32)[None]
    np.testing.assert_allclose(power_to_db(power), librosa.power_to_db(power), atol=1e-4)
    np.testing.assert_allclose(
        power_to_db(power, ref=float(power.max())), librosa.power_to_db(power, ref=np.max), atol=1e-4
    )
    np.testing.assert_allclose(amplitude_to_db(power), librosa.amplitude_to_db(power), atol=1e-4)
    np.testing.assert_allclose(
        amplitude_to_db(power, ref=float(power.max())), librosa.amplitude_to_db(power, ref=np.max), atol=1e-4
    )


def test_long_signals_are_not_bounded_by_the_block():
    y = signal(512 * 5000)
    result, part = cqt(y), cqt(y[512 * 4000 :])
    np.testing.assert_allclose(result[12:, 4100:-100], part[12:, 100:-100], atol=1e-3 * result.max())
