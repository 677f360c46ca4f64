"""The two resamplers, each fed block by block.

Each network gets the one that it was trained with, since networks are known to change their answer with it.

* `soxr_hq`: librosa's default, what the genre networks were trained with.
* `SincResampler`: torchaudio's default, what Emotion2Vec+ is used with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]  # [n], mono

ZEROS = 6  # zero crossings of the sinc on either side
ROLLOFF = 0.99  # cutoff as a share of the lower Nyquist frequency

GROUP = 16  # outputs of one matrix product: one AVX-512 register, and few taps that are zero
# Samples at a time: what fits into the cache is faster. Also few enough for BLAS to stay on one thread (4 * 65 536
# multiplications in OpenBLAS; it is less than GROUP / 4 per sample), so that the bits are the same on any number.
CHUNK = 1 << 16


class Resampler(Protocol):
    """A stream that changes its rate."""

    def resample_chunk(self, y: Samples, last: bool = False) -> Samples:
        """Take the next samples and return what is ready of the result, the rest with the `last`."""


def soxr_hq(sr_in: int, sr: int) -> Resampler:
    """Soxr's HQ recipe, as `librosa.load` uses it."""
    return soxr.ResampleStream(sr_in, sr, 1, dtype="float32", quality="HQ")


class SincResampler:
    """Sinc interpolation under a Hann window, the numbers of `torchaudio.transforms.Resample`.

    With the rates reduced to o:n and b = 0.99 min(o, n), output k is the sum over the input x of

        x[i] b/o sinc(t) cos²(π t / 12),    t = (i/o - k/n) b,    |t| < 6

    where x is zero beyond its ends; n samples become ceil(n * sr / sr_in). Equal rates: the samples as they are.
    The result does not depend, to the bit, on the blocks in which the samples come.

    Parameters
    ----------
    sr_in, sr : rates of the input and of the result, Hz
    """

    def __init__(self, sr_in: int, sr: int) -> None:
        divisor = math.gcd(sr_in, sr)
        self._rates = sr_in // divisor, sr // divisor
        self._bank = _bank(*self._rates)
        self._ahead = [np.zeros(self._bank.width, np.float32)]  # input from the window of the next output on
        self._held = self._bank.width  # samples in it
        self._taken = self._given = 0

    def resample_chunk(self, y: Samples, last: bool = False) -> Samples:
        """Take float32 [n] and return what is ready of the result, float32; the rest with the `last`."""
        o, n = self._rates
        if o == n:
            return y
        bank = self._bank
        self._ahead.append(y)
        self._held += len(y)
        self._taken += len(y)
        # Only whole chunks before the end: BLAS rounds differently for another number of rows.
        rows = max(0, (self._held - bank.span) // bank.hop + 1) // bank.rows * bank.rows
        wanted = rows * bank.period
        if last:
            wanted = -(-self._taken * n // o) - self._given
            rows = -(-wanted // bank.period)
            self._ahead.append(np.zeros(rows * bank.hop + bank.span, np.float32))
        elif rows == 0:
            return np.zeros(0, np.float32)
        x = np.concatenate(self._ahead)
        self._ahead = [x[rows * bank.hop :]]
        self._held = len(self._ahead[0])
        self._given += wanted
        return bank.apply(x, rows)[:wanted]


@dataclass(frozen=True)
class _Bank:
    """The filters of one pair of rates: `period` outputs for every `hop` inputs, GROUP of them to a matrix.

    Attributes
    ----------
    width : inputs that the window of an output reaches back
    groups : (first input after the row's start, float32 [inputs, outputs])
    rows : rows of `period` outputs that are computed at a time
    """

    hop: int
    period: int
    width: int
    groups: tuple[tuple[int, Samples], ...]
    rows: int

    @property
    def span(self) -> int:
        """Inputs that must be there for a row of outputs."""
        return 2 * (self.hop + self.width)

    def apply(self, x: Samples, rows: int) -> Samples:
        """Rows of outputs for the input that begins `width` before the first one: float32 [rows * period]."""
        out = np.empty((rows, self.period), np.float32)
        for top in range(0, rows, self.rows):
            part = out[top : top + self.rows]
            column = 0
            for first, taps in self.groups:
                begin = top * self.hop + first
                windows = x[begin : begin + len(part) * self.hop].reshape(len(part), self.hop)
                # Columns of a matrix are a matrix to BLAS too: nothing is copied.
                np.matmul(windows[:, : len(taps)], taps, out=part[:, column : column + taps.shape[1]])
                column += taps.shape[1]
        return out.reshape(-1)


@lru_cache(maxsize=8)
def _bank(o: int, n: int) -> _Bank:
    """The filters from rate o to rate n, without common divisor."""
    repeats = math.ceil(8 * GROUP * max(1, n / o) / n)  # so that a group's inputs do not reach into the next row
    hop, period = o * repeats, n * repeats
    base = ROLLOFF * min(hop, period)
    reach = ZEROS * hop / base
    width = math.ceil(reach)
    groups = []
    for start in range(0, period, GROUP):
        outputs = np.arange(start, min(start + GROUP, period))
        first = math.ceil(start * hop / period - reach)
        inputs = np.arange(first, math.floor(outputs[-1] * hop / period + reach) + 1)
        t = np.clip((inputs[:, None] / hop - outputs / period) * base, -ZEROS, ZEROS)
        taps = np.sinc(t) * np.cos(np.pi * t / (2 * ZEROS)) ** 2 * (base / hop)
        groups.append((first + width, taps.astype(np.float32)))
    return _Bank(hop, period, width, tuple(groups), max(16, CHUNK // hop))
