"""The generated voice is speech by the measures that tell speech from music."""

import numpy as np
import pytest
import soxr
from scipy import signal

from preprocess.features import features
from sounds.voice import CALM, SENTENCE, SOUNDS, spoken, voice

SR = 16000


def test_the_server_measures_a_voice():
    y = voice(SR)
    assert y.dtype == np.float32 and 0.7 < np.abs(y).max() < 0.9
    assert np.array_equal(y, voice(SR))
    assert features(soxr.resample(y, SR, 22050))["voice_presence"] > 0.7  # the documented measure of speech


@pytest.mark.parametrize(("place", "sound"), [(14, "a"), (16, "ae"), (12, "u"), (20, "l")])
def test_each_sound_has_its_formants(place, sound):
    """The resonances that linear prediction finds in the middle of a sound are those that it was given."""
    assert SENTENCE[place][0] == sound
    starts = np.cumsum([0, *(ms for _, ms, _ in SENTENCE)])
    middle = round((starts[place] + starts[place + 1]) / 2000 * SR)
    y = spoken(CALM, SR, np.random.default_rng(0))[middle - 400 : middle + 400]
    found = resonances(signal.lfilter([1, -0.97], 1, y) * np.hamming(800))
    assert abs(found[0] - SOUNDS[sound][0][0]) < 90 and abs(found[1] - SOUNDS[sound][0][1]) < 180


def resonances(y: np.ndarray) -> list[float]:
    """Frequencies in Hz of the poles of a linear prediction that are narrower than 400 Hz."""
    r = np.correlate(y, y, "full")[len(y) - 1 :]
    order = 14
    a = np.linalg.solve(r[np.abs(np.subtract.outer(np.arange(order), np.arange(order)))], r[1 : order + 1])
    poles = np.roots([1, *-a])
    narrow = poles[(np.imag(poles) > 0) & (-np.log(np.abs(poles)) * SR / np.pi < 400)]
    return [f for f in sorted(np.angle(narrow) * SR / (2 * np.pi)) if f > 150]
