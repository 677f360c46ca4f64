"""Selects what to analyse: silence trimmed, an excerpt, or evenly spaced segments.

Without these options the profile decides: the whole file, or its first 30 s. Each selected part is prepared as if
it were a recording of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

HOP, FRAME_HOPS = 512, 4  # the level is measured in frames of 2048 samples, as in librosa.effects.split
SILENT_DB = 60.0  # a frame this far below the loudest one is silent
MIN_SOUNDING = 0.1  # a slice with a smaller share of sounding frames is silent


@dataclass(frozen=True)
class Selection:
    """The parts of a recording to analyse; by default the profile decides.

    Attributes
    ----------
    crop : "first" or "middle" `crop_seconds`, or the "whole" recording; None: as much as the profile wants
    crop_seconds : length of the excerpt
    segments : number of parts, evenly spaced over the excerpt (over the whole recording if `crop` is None)
    segment_seconds : length of each part
    skip_silence : whether to trim silence at both ends and to skip slices that are almost entirely silent
    """

    crop: Literal["first", "middle", "whole"] | None = None
    crop_seconds: float = 30.0
    segments: int | None = None
    segment_seconds: float = 11.4
    skip_silence: bool = False

    @property
    def on(self) -> bool:
        """Whether any option replaces the profile's choice."""
        return bool(self.crop or self.segments or self.skip_silence)

    def decoded_seconds(self, wanted: float | None) -> float | None:
        """Seconds to decode from the beginning (None: all), for a profile that wants `wanted` seconds."""
        if self.crop == "first" and not self.skip_silence:
            return self.crop_seconds
        return None if self.on else wanted

    def parts(self, y: Array, sr: int, wanted: float | None, least: float, most: int) -> list[slice]:
        """Return the selected parts, in samples.

        Each segment is the middle of an equal share of the excerpt: a single segment is the middle of the whole,
        and no segment is the very beginning or end, where music fades, unless the segments fill the excerpt. The
        number is limited to what fits, so segments never overlap.

        Parameters
        ----------
        y : float32 [n]
        sr : Hz
        wanted : seconds from the beginning that the profile wants (None: all)
        least : minimum seconds to keep when silence is trimmed
        most : maximum number of segments
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
    """Flag frames less than 60 dB below the loudest: bool [1 + n // 512]; frame t is centred on 512 t."""
    hops = np.pad(y, (0, -len(y) % HOP)).reshape(-1, HOP)
    power = np.pad(np.einsum("ij,ij->i", hops, hops), (FRAME_HOPS // 2, FRAME_HOPS // 2))
    frames = 1 + len(y) // HOP
    power = np.asarray(sum(power[k : k + frames] for k in range(FRAME_HOPS)))
    return power > power.max() * 10 ** (-SILENT_DB / 10)


def sounding_slices(y: Array, sr: int, slices: list[tuple[float, float]]) -> list[int]:
    """Return the indices of the slices, (start, end) in seconds, that are not silent; at least the loudest one.

    Loudest means the largest share of sounding frames.
    """
    counts = np.concatenate([[0], np.cumsum(sounding(y))])
    shares = []
    for start, end in slices:
        first = min(int(start * sr / HOP), len(counts) - 2)
        last = max(first + 1, min(int(end * sr / HOP), len(counts) - 1))
        shares.append((counts[last] - counts[first]) / (last - first))
    return [i for i, share in enumerate(shares) if share >= MIN_SOUNDING] or [int(np.argmax(shares))]


def _sounding_part(y: Array, least: int) -> tuple[int, int]:
    """Return the range from the first to the last sounding frame, extended to `least` samples where possible."""
    frames = np.flatnonzero(sounding(y))
    if not len(frames):
        return 0, len(y)
    begin, end = int(frames[0]) * HOP, min(len(y), (int(frames[-1]) + 1) * HOP)
    begin = max(0, min(begin, end - least))
    return begin, min(len(y), max(end, begin + least))
