"""Turns blocks of all channels into mono samples at another rate: mix down, check, resample, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from preprocess.decode import Block, Incomplete, Reader, Samples
from preprocess.errors import RecordingError, TooShort
from preprocess.limits import Limits, Meter
from preprocess.resample import Resampler
from preprocess.timing import Stopwatch

MAX_LEVEL = 1e6  # full scale is 1; squares of much larger samples overflow float32
LOST = 0.3  # seconds, beside a hundredth of the recording; a smaller loss is the encoder's padding
PADDED = 0.3  # seconds; more sound than this after a declared end is not padding: the declaration is wrong
COMPARED = 4096  # frames of each block whose energy is compared
CANCELLED = 0.01  # power of the mix over the mean power of its channels, -20 dB; 8 independent channels have 1/8


@dataclass(frozen=True)
class Waveform:
    """A decoded recording.

    Attributes
    ----------
    samples : float32 [n], mono
    sr : Hz
    duration : seconds of the whole recording, also where only its beginning was decoded
    notes : sentences about damage that was repaired
    """

    samples: Samples
    sr: int
    duration: float
    notes: tuple[str, ...] = ()


class Mixer:
    """Mixes down, checks and resamples the blocks of readers, one joined recording after the other.

    Parameters
    ----------
    sr : rate of the result, Hz
    wanted : seconds to decode
    limits : limits of accepted recordings
    resampler : called with the input's and the result's rate
    watch : measures the stages decode, downmix and resample

    Attributes
    ----------
    meter : counts the cost against the limits
    seconds : decoded so far
    """

    def __init__(
        self,
        sr: int,
        wanted: float,
        limits: Limits,
        resampler: Callable[[int, int], Resampler],
        watch: Stopwatch,
    ) -> None:
        self.meter = Meter(limits)
        self.seconds = 0.0
        self._sr, self._wanted, self._resampler = sr, wanted, resampler
        self._watch = watch
        self._takes: list[_Take] = []
        self._duration = 0.0
        self._notes: list[str] = []

    def read(self, readers: Iterable[Reader]) -> None:
        """Read a recording with the first reader that reaches its end, or the wanted length."""
        mark = self.meter.mark()
        for reader in readers:
            take = _Take(self._sr, self._wanted - self.seconds, self._resampler, self._watch)
            with closing(reader):
                try:
                    self._fill(take, reader)
                    duration = max(take.seconds, (reader.measure() or 0.0) if take.full else 0.0)
                except Incomplete:
                    self.meter.rewind(mark)
                    continue
            if not take.full and reader.duration and take.seconds < 0.99 * reader.duration - LOST:
                self._notes.append(
                    f"Only {take.seconds:.1f} s of {reader.duration:.1f} s could be decoded; the file seems to be"
                    " cut off."
                )
            self.seconds += take.seconds
            self._duration += duration
            self._takes.append(take)
            self._notes += reader.notes
            return

    def _fill(self, take: _Take, reader: Reader) -> None:
        if not take.full:
            for block, sr in _until(reader.end, reader.blocks()):
                self._watch.lap("decode")
                self.meter.count(take.add(block, sr), block.shape[1], sr)
                if take.full:
                    break
        take.finish()

    def result(self) -> Waveform:
        """Join all recordings that were read.

        Raises
        ------
        RecordingError
            there are no samples, or no finite ones
        """
        takes, notes = self._takes, []
        frames, bad = sum(take.frames for take in takes), sum(take.bad for take in takes)
        if not frames:
            raise TooShort("The recording holds no samples; send a recording with sound in it.")
        if bad == frames:
            raise RecordingError(
                f"All {frames} samples of the recording are NaN or infinite; send finite samples."
            )
        if bad:
            notes.append(f"{bad} samples were NaN or infinite and were replaced by silence.")
        mixed, channels = sum(take.mixed for take in takes), sum(take.channels for take in takes)
        if mixed < CANCELLED * channels:
            below = -10 * math.log10(mixed / channels + 1e-12)
            notes.append(
                f"The channels cancel each other: their mean, which was analysed, is {below:.0f} dB quieter than"
                " they are; send one channel alone."
            )
        pieces = [piece for take in takes for piece in take.pieces]
        samples = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        self._watch.lap("resample")
        unique = tuple(dict.fromkeys(notes + self._notes))
        return Waveform(samples, self._sr, max(self._duration, self.seconds), unique)


class _Take:
    """The mono samples of one recording, with statistics.

    Attributes
    ----------
    seconds, frames : mixed down so far
    full : whether the wanted length is reached
    pieces : float32 [n] at the rate of the result, one for each rate in the recording
    bad : number of frames that were not finite
    mixed, channels : energy of the mix and mean energy of the channels, over a part of each block with more than
        one channel
    """

    def __init__(
        self, sr: int, wanted: float, resampler: Callable[[int, int], Resampler], watch: Stopwatch
    ) -> None:
        self.seconds, self.frames, self.full = 0.0, 0, wanted <= 0
        self.pieces: list[Samples] = []
        self.bad, self.mixed, self.channels = 0, 0.0, 0.0
        self._sr, self._wanted, self._resampler, self._watch = sr, wanted, resampler, watch
        self._sr_in = 0
        self._started = 0.0  # seconds before the samples of this rate
        self._taken = 0  # frames of this rate
        self._ready: list[Samples] = []

    def add(self, block: Block, sr_in: int) -> int:
        """Mix down and resample a block up to the wanted length, and return the number of frames used."""
        if sr_in != self._sr_in:
            self.finish()
            self._sr_in, self._started, self._taken = sr_in, self.seconds, 0
            self._stream = self._resampler(sr_in, self._sr)
        left = (self._wanted - self._started) * sr_in
        left = len(block) if left == math.inf else int(left) - self._taken
        block = block[:left]
        mono = self._checked(_downmix(block))
        if block.shape[1] > 1:
            self.mixed += _energy(mono[:COMPARED])
            self.channels += _energy(block[:COMPARED]) / block.shape[1]
        self._watch.lap("downmix")
        self._ready.append(self._stream.resample_chunk(mono))
        self._watch.lap("resample")
        self._taken += len(mono)
        self.frames += len(mono)
        self.seconds = self._started + self._taken / sr_in
        self.full = len(mono) == left and self._wanted < math.inf
        return len(mono)

    def finish(self) -> None:
        """Flush the resampler."""
        if self._taken:
            self._ready.append(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
            samples = np.concatenate(self._ready)
            self.pieces.append(_fix_length(samples, math.ceil(self._taken * self._sr / self._sr_in)))
        self._taken, self._ready = 0, []

    def _checked(self, mono: Samples) -> Samples:
        """Replace samples that are not finite; raise RecordingError for samples far beyond full scale."""
        peak = _peak(mono)
        if not np.isfinite(peak):
            finite = np.isfinite(mono)
            self.bad += int(np.count_nonzero(~finite))
            mono = np.where(finite, mono, np.float32(0))
            peak = _peak(mono)
        if peak > MAX_LEVEL:
            raise RecordingError(
                f"The recording has samples up to {peak:.3g}, full scale is 1; scale it to [-1, 1]."
            )
        return mono


def _until(end: float | None, blocks: Iterator[tuple[Block, int]]) -> Iterator[tuple[Block, int]]:
    """Yield the blocks up to `end` seconds, where padding begins; or all blocks, if much more follows."""
    held, frames = [], 0
    for block, sr in blocks:
        last = math.inf if end is None else round(end * sr)
        if frames + len(block) > last:
            if frames < last:
                yield block[: last - frames], sr
            held.append((block[max(0, last - frames) :], sr))
            if frames + len(block) - last > PADDED * sr:
                yield from held
                end, held = None, []
        else:
            yield block, sr
        frames += len(block)


def _downmix(block: Block) -> Samples:
    """Average the channels, float32 [n, channels] -> [n]; a product, 20 times faster than `mean(axis=1)`."""
    if block.shape[1] == 1:
        return block[:, 0]
    return block @ np.full(block.shape[1], 1 / block.shape[1], np.float32)


def _energy(y: Block) -> float:
    return float(np.vdot(y, y))


def _peak(y: Samples) -> np.float32:
    """Return the largest magnitude; not finite if any sample is not. Avoids the copies of `np.abs`."""
    return np.maximum(y.max(initial=0), -y.min(initial=0))


def _fix_length(y: Samples, n: int) -> Samples:
    """Cut or pad to n samples, as librosa does: a resampler's output may be a sample off."""
    return y[:n] if len(y) >= n else np.pad(y, (0, n - len(y)))
