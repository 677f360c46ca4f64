"""Profile `emotion2vec`: recording -> normalised 16 kHz waveform, as rows for the speech network.

The network sees a frame of 400 samples every 320 (25 ms every 20 ms): n samples have (n - 400) // 320 + 1 frames.
Up to 30.5 s are one row, and what the network answers is exact. Its attention costs the square of the length, so a
longer recording is cut into windows: each row has the frames that are kept of it, and a second of context on
either side, which the network's positional convolutions (45 frames) and its attention need.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from preprocess.audio import load
from preprocess.clean import Cleaning, clean
from preprocess.decode import Samples
from preprocess.errors import TooShort
from preprocess.limits import Limits
from preprocess.resample import SincResampler
from systems.lengths import BUCKETS, CONTEXT, FIELD, HOP, KEPT, SR, frames_of
from systems.tasks import MAX_SPEECH_SECONDS

EPS = 1e-5  # added to the variance, as in the layer norm that the network was trained behind

RELIABLE_SECONDS = 1.0
SILENCE = 1e-4  # RMS around the mean, full scale is 1: -80 dBFS

LIMITS = Limits(max_seconds=float(MAX_SPEECH_SECONDS))  # 31 windows; Triton's batch is bounded by 32


WHOLE = frames_of(BUCKETS[-1])  # the most frames in one row


@dataclass(frozen=True)
class Window:
    """One row, in frames of the recording.

    Attributes
    ----------
    first : frame of the recording that is the row's frame 0
    start, stop : the frames start..stop-1 are kept; in the row, start - first .. stop - first - 1
    """

    first: int
    start: int
    stop: int


@dataclass(frozen=True)
class PreparedSpeech:
    """The network's input and what the answer needs to explain itself.

    Attributes
    ----------
    wav : float32 [n, samples], a window in each row, padded with zeros to one of the buckets
    lengths : int64 [n, 1], valid samples of each row
    windows : which frames each row has; the kept ones are all frames of the recording, each once
    frames : frames of the recording, every 20 ms
    duration : seconds of the recording
    silent : nothing is to be heard, and no emotion is to be read from it
    notes : sentences about anything a reader of the answer should know
    seconds : what each stage took: decode, downmix, resample, clean, normalise
    cleaned : what cleaning did, by step; empty where it was not asked for
    """

    wav: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    windows: tuple[Window, ...]
    frames: int
    duration: float
    silent: bool
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    cleaned: dict[str, dict] = field(default_factory=dict)


def prepare_speech(
    recording: bytes | tuple[npt.NDArray, int],
    *,
    limits: Limits | None = None,
    buckets: tuple[int, ...] = BUCKETS,
    cleaning: Cleaning | None = None,
) -> PreparedSpeech:
    """Turn a recording into rows of the speech network's input.

    Parameters
    ----------
    recording : an encoded file, or (samples float [n] or [n, channels] or int16, rate in Hz)
    limits : what is accepted (None: LIMITS, ten minutes)
    buckets : lengths of rows, samples: BUCKETS or COARSE_BUCKETS
    cleaning : what is done to the sound before it is normalised (None: nothing)

    Raises
    ------
    RecordingError
        a recording that is not audio, is shorter than one frame or beyond a limit
    """
    wave = load(recording, sr=SR, limits=limits or LIMITS, resampler=SincResampler)
    y, notes = wave.samples, wave.notes
    frames = frames_of(len(y))
    if frames == 0:
        raise TooShort(
            f"The recording lasts {1000 * wave.duration:.3g} ms; at least {1000 * FIELD / SR:g} ms are needed."
        )
    if wave.duration < RELIABLE_SECONDS:
        notes += (
            f"The recording lasts {wave.duration:.3g} s; results for less than {RELIABLE_SECONDS:g} s of speech"
            " are unreliable.",
        )
    cleaned: dict[str, dict] = {}
    if cleaning and cleaning.on:
        y, cleaned, said = clean(y, SR, cleaning)
        notes += said
        wave.watch.lap("clean")
    # Over the whole recording, once: windows of their own mean and variance would make whispers shouts.
    mean, variance = y.mean(dtype=np.float64), y.var(dtype=np.float64)
    silent = math.sqrt(variance) < SILENCE
    if silent:
        notes += (
            f"The recording is silent (its RMS is below {20 * math.log10(SILENCE):g} dB of full scale):"
            " no emotion can be recognised.",
        )
    windows = _windows(frames)
    wav, lengths = _rows(y, windows, frames, mean, 1 / math.sqrt(variance + EPS), buckets)
    wave.watch.lap("normalise")
    return PreparedSpeech(wav, lengths, windows, frames, wave.duration, silent, notes, wave.watch.seconds, cleaned)


def _windows(frames: int) -> tuple[Window, ...]:
    """One window, or as few as KEPT allows, whose kept parts are equally long to a frame."""
    if frames <= WHOLE:
        return (Window(0, 0, frames),)
    n = math.ceil(frames / KEPT)
    bounds = [k * frames // n for k in range(n + 1)]
    return tuple(Window(max(0, start - CONTEXT), start, stop) for start, stop in itertools.pairwise(bounds))


def _rows(
    y: Samples, windows: tuple[Window, ...], frames: int, mean: float, scale: float, buckets: tuple[int, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Cut out the windows, normalise and pad them; samples beyond the last whole frame are dropped."""
    parts = []
    for window in windows:
        end = min(frames, window.stop + CONTEXT)
        parts.append(slice(window.first * HOP, (end - 1) * HOP + FIELD))
    lengths = np.array([[part.stop - part.start] for part in parts], np.int64)
    bucket = buckets[bisect.bisect_left(buckets, lengths.max())]
    wav = np.zeros((len(windows), bucket), np.float32)
    for row, part, length in zip(wav, parts, lengths[:, 0], strict=True):
        # In float64: a mean rounded to float32 would show in a quiet recording, scaled by up to 316.
        row[:length] = (y[part].astype(np.float64) - mean) * scale
    return wav, lengths
