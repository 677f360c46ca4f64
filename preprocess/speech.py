"""Profile `emotion2vec`: turns a recording into a normalised 16 kHz waveform, as rows for the speech network.

The network's frames have 400 samples every 320 (25 ms every 20 ms): n samples have (n - 400) // 320 + 1 frames. A
recording of up to 30.5 s is one row, and the network's answer is exact. The cost of its attention grows with the
square of the length, so a longer recording is cut into windows: each row has its own frames and a second of
context on either side, which the network's positional convolutions (45 frames) and its attention need.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from preprocess.audio import load
from preprocess.decode import Samples
from preprocess.enhance import Enhancement, enhance
from preprocess.errors import TooShort
from preprocess.limits import Limits
from preprocess.resample import SincResampler
from preprocess.timing import Stopwatch
from systems.lengths import BUCKETS, CONTEXT, FIELD, HOP, KEPT, SR, frames_of
from systems.tasks import MAX_SPEECH_SECONDS

EPS = 1e-5  # added to the variance, as in the layer norm before the network in training

RELIABLE_SECONDS = 1.0
SILENCE = 1e-4  # RMS around the mean, full scale is 1: -80 dBFS

LIMITS = Limits(max_seconds=float(MAX_SPEECH_SECONDS))  # 31 windows; the network's batch holds 32

MAX_ROW_FRAMES = frames_of(BUCKETS[-1])


@dataclass(frozen=True)
class Window:
    """One row, in frames of the recording.

    Attributes
    ----------
    first : frame of the recording at the row's frame 0
    start, stop : the row's own frames, from `start` to before `stop`; in the row from start - first to before
        stop - first
    """

    first: int
    start: int
    stop: int


@dataclass(frozen=True)
class PreparedSpeech:
    """Rows of the network, and what the answer reports about them.

    Attributes
    ----------
    wav : float32 [n, samples], a window per row, padded with zeros to one of the buckets
    lengths : int64 [n, 1], valid samples of each row
    windows : the frames of each row; together their own frames are all frames of the recording, each once
    frames : number of frames in the recording, one every 20 ms
    duration : seconds of the recording
    silent : whether the recording is silent, so that no emotion can be recognised
    notes : sentences for the reader of the answer
    seconds : duration of each stage: decode, downmix, resample, clean, normalise
    enhanced : report of each enhancement step; empty if none was requested
    """

    wav: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    windows: tuple[Window, ...]
    frames: int
    duration: float
    silent: bool
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    enhanced: dict[str, dict] = field(default_factory=dict)


def prepare_speech(
    recording: bytes | tuple[npt.NDArray, int],
    *,
    limits: Limits | None = None,
    buckets: tuple[int, ...] = BUCKETS,
    enhancement: Enhancement | None = None,
) -> PreparedSpeech:
    """Turn a recording into rows of the speech network's input.

    Parameters
    ----------
    recording : an encoded file, or (samples float [n] or [n, channels] or int16, rate in Hz)
    limits : limits of accepted recordings (None: LIMITS, ten minutes)
    buckets : lengths of rows, samples: BUCKETS or COARSE_BUCKETS
    enhancement : steps that run before normalisation (None: none)

    Raises
    ------
    RecordingError
        a recording that is not audio, is shorter than one frame or beyond a limit
    """
    watch = Stopwatch()
    wave = load(recording, sr=SR, limits=limits or LIMITS, resampler=SincResampler, watch=watch)
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
    enhanced: dict[str, dict] = {}
    if enhancement and enhancement.on:
        y, enhanced, remarks = enhance(y, SR, enhancement)
        notes += remarks
        watch.lap("clean")
    # Once, over the whole recording: normalising each window by itself would turn whispers into shouts.
    mean, variance = y.mean(dtype=np.float64), y.var(dtype=np.float64)
    silent = math.sqrt(variance) < SILENCE
    if silent:
        notes += (
            f"The recording is silent (its RMS is below {20 * math.log10(SILENCE):g} dB of full scale):"
            " no emotion can be recognised.",
        )
    windows = _windows(frames)
    wav, lengths = _rows(y, windows, frames, mean, 1 / math.sqrt(variance + EPS), buckets)
    watch.lap("normalise")
    return PreparedSpeech(wav, lengths, windows, frames, wave.duration, silent, notes, watch.seconds, enhanced)


def _windows(frames: int) -> tuple[Window, ...]:
    """Return one window, or as few as KEPT allows, whose own frames differ in number by at most one."""
    if frames <= MAX_ROW_FRAMES:
        return (Window(0, 0, frames),)
    n = math.ceil(frames / KEPT)
    bounds = [k * frames // n for k in range(n + 1)]
    return tuple(Window(max(0, start - CONTEXT), start, stop) for start, stop in itertools.pairwise(bounds))


def _rows(
    y: Samples, windows: tuple[Window, ...], frames: int, mean: float, scale: float, buckets: tuple[int, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Cut out the windows, normalise and pad them; drop samples after the last complete frame."""
    parts = []
    for window in windows:
        end = min(frames, window.stop + CONTEXT)
        parts.append(slice(window.first * HOP, (end - 1) * HOP + FIELD))
    lengths = np.array([[part.stop - part.start] for part in parts], np.int64)
    bucket = buckets[bisect.bisect_left(buckets, lengths.max())]
    wav = np.zeros((len(windows), bucket), np.float32)
    for row, part, length in zip(wav, parts, lengths[:, 0], strict=True):
        # In float64: the scale is up to 316, and the rounding of a float32 mean would show in quiet recordings.
        row[:length] = (y[part].astype(np.float64) - mean) * scale
    return wav, lengths
