"""Which parts of a recording are heard: without its silence, its middle, or segments spread over it.

A profile hears what it was made for: the whole file, or its first 30 s. These options choose something else; each
part is then prepared as if it were a recording of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

HOP, FRAME_HOPS = 512, 4  # loudness is looked at in frames of 2048 samples, as librosa.effects.split does
SILENT_DB = 60.0  # so far below the loudest frame nothing is heard
LEAST_SOUNDING = 0.1  # a slice with less sound than this share of its frames says nothing


@dataclass(frozen=True)
class Hearing:
    """What is heard of a recording; with the defaults that is left to the profile."""

    crop: Literal["first", "middle", "whole"] | None = None
    """None: as much as the profile wants; else `crop_seconds` of the beginning or of the middle, or everything."""
    crop_seconds: float = 30.0
    segments: int | None = None
    """So many parts, evenly spread over what `crop` leaves (None there: over everything)."""
    segment_seconds: float = 11.4
    skip_silence: bool = False
    """Whether silence at both ends, and slices that are nearly all silent, are left out."""

    @property
    def on(self) -> bool:
        """Whether anything but the profile decides."""
        return bool(self.crop or self.segments or self.skip_silence)

    def decoded_seconds(self, wanted: float | None) -> float | None:
        """How much of the beginning must be decoded (None: all) where a profile wants `wanted` seconds."""
        if self.crop == "first" and not self.skip_silence:
            return self.crop_seconds
        return None if self.on else wanted

    def parts(self, y: Array, sr: int, wanted: float | None, least: float, most: int) -> list[slice]:
        """The parts that are heard, in samples.

        Segments are the middles of equal shares: one is the middle of all, and none is the very beginning or end,
        where music fades, unless they fill everything. There are no more than fit, so they never overlap.

        Parameters
        ----------
        y : float32 [n]
        wanted : seconds from the beginning that the profile wants (None: all)
        least : seconds that are kept at least where silence is left out
        most : segments
        """
        begin, end = _sounding_part(y, round(least * sr)) if self.skip_silence else (0, len(y))
        seconds = {"whole": None, None: None if self.segments else wanted}.get(self.crop, self.crop_seconds)
        length = end - begin if seconds is None else min(end - begin, round(seconds * sr))
        if self.crop == "middle":
            begin += (end - begin - length) // 2
        if not self.segments:
            return [slice(begin, begin + length)]
        size = min(length, round(self.segment_seconds * sr))
        n = min(self.segments, most, length // size)
        starts = [begin + ((2 * i + 1) * length - n * size) // (2 * n) for i in range(n)]
        return [slice(start, start + size) for start in starts]


def sounding(y: Array) -> Flags:
    """Which frames are less than 60 dB below the loudest, bool [1 + n // 512]; frame t is centred on 512 t."""
    hops = np.pad(y, (0, -len(y) % HOP)).reshape(-1, HOP)
    power = np.pad(np.einsum("ij,ij->i", hops, hops), (FRAME_HOPS // 2, FRAME_HOPS // 2))
    frames = 1 + len(y) // HOP
    power = np.asarray(sum(power[k : k + frames] for k in range(FRAME_HOPS)))
    return power > power.max() * 10 ** (-SILENT_DB / 10)


def sounding_slices(y: Array, sr: int, slices: list[tuple[float, float]]) -> list[int]:
    """Numbers of the slices, (start, end) in seconds, that are not silent; if all are, the one with most sound."""
    heard = np.concatenate([[0], np.cumsum(sounding(y))])
    shares = []
    for start, end in slices:
        first = min(int(start * sr / HOP), len(heard) - 2)
        last = max(first + 1, min(int(end * sr / HOP), len(heard) - 1))
        shares.append((heard[last] - heard[first]) / (last - first))
    return [i for i, share in enumerate(shares) if share >= LEAST_SOUNDING] or [int(np.argmax(shares))]


def _sounding_part(y: Array, least: int) -> tuple[int, int]:
    """From the first sounding frame to the last, but at least so many samples where there are as many."""
    frames = np.flatnonzero(sounding(y))
    if not len(frames):
        return 0, len(y)
    begin, end = int(frames[0]) * HOP, min(len(y), (int(frames[-1]) + 1) * HOP)
    begin = max(0, min(begin, end - least))
    return begin, min(len(y), max(end, begin + least))
