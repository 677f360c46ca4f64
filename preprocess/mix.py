"""Blocks of all channels -> mono samples at another rate: mix down, check, resample, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from preprocess.decode import Block, Incomplete, Reader, Samples
from preprocess.errors import RecordingError, TooShort
from preprocess.limits import Limits, Meter
from preprocess.resample import Resampler
from preprocess.timing import Stopwatch

LOUDEST = 1e6  # full scale is 1; squares of much more leave float32
LOST = 0.3  # seconds, and a hundredth of the whole: less is an encoder's padding
PADDED = 0.3  # seconds: more than this behind a declared end is no padding, and the declaration is wrong
COMPARED = 4096  # frames of each block whose energy is looked at
CANCELLED = 0.01  # the power of the mix to the mean of its channels', -20 dB; eight unlike channels have 1/8


@dataclass(frozen=True)
class Waveform:
    """A decoded recording.

    Attributes
    ----------
    samples : float32 [n], mono
    sr : Hz
    duration : seconds of the whole recording, also where only its beginning was decoded
    notes : sentences about what had to be mended
    watch : what decoding, mixing down and resampling took; runs on
    """

    samples: Samples
    sr: int
    duration: float
    notes: tuple[str, ...] = ()
    watch: Stopwatch = field(default_factory=Stopwatch)


class Mixer:
    """Mixes down, checks and resamples what readers yield, one joined recording after the other.

    Parameters
    ----------
    sr : rate of the result, Hz
    wanted : seconds to decode
    """

    def __init__(self, sr: int, wanted: float, limits: Limits, resampler: Callable[[int, int], Resampler]) -> None:
        self.meter = Meter(limits)
        self.seconds = 0.0  # decoded
        self._sr, self._wanted, self._resampler = sr, wanted, resampler
        self._watch = Stopwatch()
        self._takes: list[_Take] = []
        self._duration = 0.0
        self._notes: list[str] = []

    def read(self, readers: Iterable[Reader]) -> None:
        """Take a recording from the first reader that reads it to its end, or as far as is wanted."""
        mark = self.meter.mark()
        for reader in readers:
            take = _Take(self._sr, self._wanted - self.seconds, self._resampler, self._watch)
            with closing(reader):
                try:
                    self._fill(take, reader)
                    whole = max(take.seconds, (reader.measure() or 0.0) if take.full else 0.0)
                except Incomplete:
                    self.meter.rewind(mark)
                    continue
            if not take.full and reader.duration and take.seconds < 0.99 * reader.duration - LOST:
                self._notes.append(
                    f"Only {take.seconds:.1f} s of {reader.duration:.1f} s could be decoded; the file seems to be"
                    " cut off."
                )
            self.seconds += take.seconds
            self._duration += whole
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
        """Join what was read.

        Raises
        ------
        RecordingError
            no samples, or none that is finite
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
        return Waveform(samples, self._sr, max(self._duration, self.seconds), unique, self._watch)


class _Take:
    """The mono samples of one recording, and what was seen on the way.

    Attributes
    ----------
    seconds, frames : mixed down so far
    full : whether that is all that is wanted
    pieces : float32 [n] at the rate of the result, one for each rate that the recording has
    bad : frames that were not finite
    mixed, channels : energy of the mix and mean energy of the channels, where there are several, of a part of each
        block
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
        """Mix down and resample a block as far as it is wanted, and return how many frames that were."""
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
        """Take what the resampler still holds."""
        if self._taken:
            self._ready.append(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
            samples = np.concatenate(self._ready)
            self.pieces.append(_fix_length(samples, math.ceil(self._taken * self._sr / self._sr_in)))
        self._taken, self._ready = 0, []

    def _checked(self, mono: Samples) -> Samples:
        """Replace what is not finite; raise RecordingError for what is far beyond full scale."""
        peak = _peak(mono)
        if not np.isfinite(peak):
            finite = np.isfinite(mono)
            self.bad += int(np.count_nonzero(~finite))
            mono = np.where(finite, mono, np.float32(0))
            peak = _peak(mono)
        if peak > LOUDEST:
            raise RecordingError(
                f"The recording has samples up to {peak:.3g}, full scale is 1; scale it to [-1, 1]."
            )
        return mono


def _until(end: float | None, blocks: Iterator[tuple[Block, int]]) -> Iterator[tuple[Block, int]]:
    """The blocks up to `end` seconds, where the last packet's padding begins; all, where much more follows."""
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
    """Mean over channels, float32 [n, channels] -> [n]; a product, 20 times faster than `mean(axis=1)`."""
    if block.shape[1] == 1:
        return block[:, 0]
    return block @ np.full(block.shape[1], 1 / block.shape[1], np.float32)


def _energy(y: Block) -> float:
    return float(np.vdot(y, y))


def _peak(y: Samples) -> np.float32:
    """Largest magnitude; not finite if any sample is not. Without the copies of `np.abs` and `np.isfinite`."""
    return np.maximum(y.max(initial=0), -y.min(initial=0))


def _fix_length(y: Samples, n: int) -> Samples:
    """The resampler's output may be a sample off the nominal length, as in librosa it is cut or padded."""
    return y[:n] if len(y) >= n else np.pad(y, (0, n - len(y)))
