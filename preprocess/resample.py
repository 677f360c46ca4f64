"""Two resamplers that work block by block.

A network should get samples like those it was trained on: its answers change with the resampler.

* `soxr_hq`: librosa's default, used to train the genre networks.
* `SincResampler`: torchaudio's default, used with Emotion2Vec+.
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

ZEROS = 6  # zero crossings of the sinc on each side
ROLLOFF = 0.99  # cutoff as a share of the lower Nyquist frequency

GROUP = 16  # outputs per matrix product: one AVX-512 register, with few zero taps
# Samples at a time: few enough for the CPU's cache, and for BLAS to stay on one thread (up to 4 * 65 536
# multiplications in OpenBLAS; there are fewer than GROUP / 4 per sample), so that the bits do not depend on the
# number of threads.
CHUNK = 1 << 16


class Resampler(Protocol):
    """Resamples a stream."""

    def resample_chunk(self, y: Samples, last: bool = False) -> Samples:
        """Take the next samples and return the finished part of the result; with `last`, all the rest."""


def soxr_hq(sr_in: int, sr: int) -> Resampler:
    """Create a resampler with soxr's HQ recipe, which `librosa.load` uses."""
    return soxr.ResampleStream(sr_in, sr, 1, dtype="float32", quality="HQ")


class SincResampler:
    """Sinc interpolation with a Hann window, equal to `torchaudio.transforms.Resample`.

    With the rates reduced to o:n and b = 0.99 min(o, n), output k is the sum over the input x of

        x[i] b/o sinc(t) cos²(π t / 12),    t = (i/o - k/n) b,    |t| < 6

    where x is zero beyond its ends; n samples become ceil(n * sr / sr_in). With equal rates the samples stay
    unchanged. The result does not depend on how the samples are split into blocks, to the bit.

    Parameters
    ----------
    sr_in, sr : rates of the input and of the result, Hz
    """

    def __init__(self, sr_in: int, sr: int) -> None:
        divisor = math.gcd(sr_in, sr)
        self._rates = sr_in // divisor, sr // divisor
        self._bank = _bank(*self._rates)
        self._ahead = [np.zeros(self._bank.width, np.float32)]  # input from the start of the next output's window
        self._held = self._bank.width  # samples in it
        self._taken = self._given = 0

    def resample_chunk(self, y: Samples, last: bool = False) -> Samples:
        """Take float32 [n] and return the finished part of the result, float32; with `last`, all the rest."""
        o, n = self._rates
        if o == n:
            return y
        bank = self._bank
        self._ahead.append(y)
        self._held += len(y)
        self._taken += len(y)
        # Complete chunks only, until the end: BLAS rounds differently for other numbers of rows.
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
    """The filters of one pair of rates: `period` outputs for every `hop` inputs, in matrices of GROUP outputs.

    Attributes
    ----------
    hop, period : inputs and outputs of a row
    width : inputs that the window of an output reaches back
    groups : (first input after the row's start, float32 [inputs, outputs])
    rows : rows to compute at a time
    """

    hop: int
    period: int
    width: int
    groups: tuple[tuple[int, Samples], ...]
    rows: int

    @property
    def span(self) -> int:
        """Inputs that a row of outputs needs."""
        return 2 * (self.hop + self.width)

    def apply(self, x: Samples, rows: int) -> Samples:
        """Filter input that begins `width` samples before the first output: float32 [rows * period]."""
        out = np.empty((rows, self.period), np.float32)
        for top in range(0, rows, self.rows):
            part = out[top : top + self.rows]
            column = 0
            for first, taps in self.groups:
                begin = top * self.hop + first
                windows = x[begin : begin + len(part) * self.hop].reshape(len(part), self.hop)
                # BLAS accepts columns of a matrix as a matrix: nothing is copied.
                np.matmul(windows[:, : len(taps)], taps, out=part[:, column : column + taps.shape[1]])
                column += taps.shape[1]
        return out.reshape(-1)


@lru_cache(maxsize=8)
def _bank(o: int, n: int) -> _Bank:
    """Compute the filters from rate o to rate n, which have no common divisor."""
    repeats = math.ceil(8 * GROUP * max(1, n / o) / n)  # so that a group's inputs stay within the row
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
