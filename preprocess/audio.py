"""Decodes a recording to mono samples at the rate of the profile.

`decode` yields blocks, and `mix` mixes them down and resamples them one by one: memory holds the file, twice the
result (while its blocks are joined) and a few blocks, for any number of channels and any sample rate. A header
cannot evade the limits, because decoded samples are counted, too.

The values equal those of `librosa.load` with the default resampler: float32, mean of the channels, soxr's HQ
resampler, ceil(n * sr / sr_in) samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from preprocess.decode import BLOCK_FRAMES, Block, open_readers, parts
from preprocess.errors import RecordingError, TooShort, Undecodable
from preprocess.limits import Limits
from preprocess.mix import Mixer, Waveform
from preprocess.resample import Resampler, soxr_hq
from preprocess.timing import Stopwatch


def load(
    recording: bytes | tuple[npt.NDArray, int],
    *,
    sr: int = 22050,
    seconds: float | None = None,
    limits: Limits | None = None,
    resampler: Callable[[int, int], Resampler] = soxr_hq,
    watch: Stopwatch | None = None,
) -> Waveform:
    """Decode, mix down and resample a recording.

    Parameters
    ----------
    recording : an encoded file, or (samples [n] or [n, channels], float in [-1, 1] or int16, their rate in Hz)
    sr : rate of the result, Hz
    seconds : length to decode from the beginning (None: all)
    limits : limits of accepted recordings (None: the defaults)
    resampler : a resampler of preprocess.resample, called with the input's and the result's rate
    watch : measures decoding, mixing down and resampling (None: no measurement)

    Raises
    ------
    RecordingError
        empty, not audio, no samples, only NaN or infinite samples, or beyond a limit
    """
    limits = limits or Limits()
    limits.check_bytes(len(recording) if isinstance(recording, bytes) else np.asarray(recording[0]).nbytes)
    if isinstance(recording, bytes) and not recording:
        raise TooShort("The recording is empty (0 bytes); send the whole file.")
    mixer = Mixer(sr, math.inf if seconds is None else seconds, limits, resampler, watch or Stopwatch())
    if not isinstance(recording, bytes):
        mixer.read([_Raw(*recording, limits)])
        return mixer.result()
    damage = None
    for part in parts(recording):
        try:
            mixer.read(open_readers(part, limits, mixer.meter))
        except Undecodable as error:  # one damaged part does not affect the others
            damage = error
    if damage and not mixer.seconds:
        raise damage
    wave = mixer.result()
    if damage:
        wave = replace(wave, notes=(*wave.notes, "A part of the recording could not be decoded and was skipped."))
    return wave


class _Raw:
    """A Reader for samples that need no decoding."""

    def __init__(self, samples: npt.NDArray, sr: int, limits: Limits) -> None:
        samples = np.asarray(samples)
        if samples.dtype == np.int16:
            samples = samples / np.float32(32768)
        elif samples.dtype.kind != "f":
            raise RecordingError(f"Samples must be float in [-1, 1] or int16, not {samples.dtype}.")
        samples = samples.astype(np.float32, copy=False)
        if samples.ndim not in (1, 2):
            raise RecordingError(f"Samples must be [n] or [n, channels], not of shape {samples.shape}.")
        self._samples = samples.reshape(len(samples), -1) if samples.size else samples.reshape(0, 1)
        self._sr = int(sr)
        frames, channels = self._samples.shape
        limits.check_format(channels, self._sr)
        self.duration: float | None = frames / self._sr
        self.end: float | None = None
        self.notes: tuple[str, ...] = ()
        limits.check_seconds(self.duration)

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield float32 [frames, channels] and their rate in Hz."""
        for start in range(0, len(self._samples), BLOCK_FRAMES):
            yield self._samples[start : start + BLOCK_FRAMES], self._sr

    def measure(self) -> float | None:
        """Return the length of all samples in seconds."""
        return self.duration

    def close(self) -> None:
        """Do nothing: a reader of samples holds no resources."""
