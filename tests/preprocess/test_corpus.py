"""Recordings as they are found in the field, against what ffmpeg decodes: how many samples, where, and which."""

from pathlib import Path

import numpy as np
import pytest
import soxr

from preprocess import load
from tests.preprocess.corpus import corpus
from tests.support.making import Recording, ffmpeg, missing_tools, mpg123

pytestmark = pytest.mark.skipif(
    bool(missing_tools()), reason=f"needs Debian's packages with {', '.join(missing_tools())}"
)
QUICK = [recording for recording in corpus() if recording.quick]
REST = [recording for recording in corpus() if not recording.quick]
# ADPCM decoders round differently; at the seam of two files a decoder remembers the first.
TOLERANCE = {"adpcm": 0.02, "+": 0.02, "three": 0.02}


class Unchanged:
    """A resampler between equal rates."""

    def resample_chunk(self, y, last=False):
        return y


def at_own_rate(sr_in: int, sr: int):
    return Unchanged() if sr_in == sr else soxr.ResampleStream(sr_in, sr, 1, dtype="float32", quality="HQ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.mark.parametrize("recording", QUICK, ids=lambda recording: recording.name)
def test_equals_ffmpeg(recording, folder):
    check(recording, folder)


@pytest.mark.slow
@pytest.mark.parametrize("recording", REST, ids=lambda recording: recording.name)
def test_the_rest_equals_ffmpeg(recording, folder):
    check(recording, folder)


def check(recording: Recording, folder: Path) -> None:
    data = recording.make(folder)
    expected, sr = ffmpeg(recording.intact(folder) if recording.intact else data, folder)
    if recording.pieces:
        expected = np.concatenate([ffmpeg(make(folder), folder)[0] for make in recording.pieces])
    if recording.mpg123:
        expected = mpg123(data, folder)
    wave = load(data, sr=sr, resampler=at_own_rate)
    if recording.intact:
        check_damaged(wave.samples, expected, recording, sr)
        return
    seconds = len(expected) / sr if recording.exact is None else recording.exact
    assert -1 <= round(seconds * sr) - len(wave.samples) <= recording.tail * sr
    tolerance = max((value for word, value in TOLERANCE.items() if word in recording.name), default=1e-3)
    assert difference(wave.samples, expected) < tolerance
    assert wave.duration == pytest.approx(len(wave.samples) / sr, abs=1e-3)
    assert " cut at " in recording.name or not any("cut off" in note for note in wave.notes)


def check_damaged(y: np.ndarray, intact: np.ndarray, recording: Recording, sr: int) -> None:
    """Before the damage all is the same; behind it, sound is where it was, but for what nothing shows to be lost.

    A decoder that begins anew draws other noise (AAC), so the sounds are compared by their correlation.
    """
    begin, fifth = int(recording.begin * len(intact)), len(intact) // 5
    assert difference(y[:begin], intact[:begin]) < 1e-3
    tail, margin = intact[-fifth : -fifth // 4], int(0.003 * sr)  # time stamps are whole milliseconds
    start = len(intact) - fifth
    shifts = range(-margin, margin + recording.lost + 1)
    found = [correlation(y[start - shift :][: len(tail)], tail) for shift in shifts]
    assert max(found) > 0.95


def correlation(y: np.ndarray, expected: np.ndarray) -> float:
    n = min(len(y), len(expected))
    return float(np.dot(y[:n], expected[:n]) / (np.linalg.norm(y[:n]) * np.linalg.norm(expected[:n]) + 1e-9))


def difference(y: np.ndarray, expected: np.ndarray) -> float:
    """RMS of the difference, relative to that of what is expected."""
    n = min(len(y), len(expected))
    return float(np.linalg.norm(y[:n] - expected[:n]) / np.linalg.norm(expected[:n]))
