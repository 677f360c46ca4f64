"""Marks on the frequency axis of images: where librosa puts a frequency, and where a tone is drawn."""

import librosa
import numpy as np
import pytest

import preprocess
from preprocess.axes import ticks
from systems.profiles import PROFILES

IMAGES = [(profile, spectrum) for profile in PROFILES.values() for spectrum in profile.front_ends]
TONES = {"cqt": {"C3": "C3", "C5": "C5"}, "mel": {"500 Hz": 500.0, "1 kHz": 1000.0, "4 kHz": 4000.0}}


def frequency(label: str) -> float:
    number, _, unit = label.partition(" ")
    return float(number) * {"Hz": 1, "kHz": 1000}[unit] if unit else float(librosa.note_to_hz(label))


@pytest.mark.parametrize(("profile", "spectrum"), IMAGES, ids=lambda value: getattr(value, "name", value))
def test_marks_are_where_librosa_has_the_frequency(profile, spectrum):
    marks = ticks(profile, spectrum)
    if spectrum == "cqt":
        centres = librosa.cqt_frequencies(84, fmin=librosa.note_to_hz("C1"))
    else:
        n_mels = profile.front_ends["mel"].n_mels
        centres = librosa.mel_frequencies(n_mels + 2, fmin=0, fmax=profile.sr / 2)[1:-1]
    assert len(marks) >= 5
    for mark in marks:
        at = mark["at"] if profile.render == "magma" else 1 - mark["at"]
        assert np.interp(at, (np.arange(len(centres)) + 0.5) / len(centres), centres) == pytest.approx(
            frequency(mark["label"]), rel=2e-3
        )


@pytest.mark.parametrize(("profile", "spectrum"), IMAGES, ids=lambda value: getattr(value, "name", value))
def test_a_tone_is_drawn_at_its_mark(profile, spectrum):
    places = {mark["label"]: mark["at"] for mark in ticks(profile, spectrum)}
    seconds = np.arange(12 * 44100) / 44100
    for label in TONES[spectrum]:
        tone = 0.5 * np.sin(2 * np.pi * frequency(label) * seconds).astype(np.float32)
        row = preprocess.prepare((tone, 44100), profile, spectrum=spectrum).rows[0]
        height = row.shape[1]
        brightness = row.mean(axis=(0, 2))  # of the rows of pixels, from the top
        loud = brightness > brightness.min() + 0.9 * np.ptp(brightness)
        at = 1 - (np.flatnonzero(loud).mean() + 0.5) / height
        bins = 84 if spectrum == "cqt" else profile.front_ends["mel"].n_mels
        assert at == pytest.approx(places[label], abs=1.5 / bins), label
