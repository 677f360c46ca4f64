"""Spectrogram -> rows of a network: the ways that profiles name by `render`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from preprocess.render import grey_picture, magma_picture, resize_bilinear
from systems.profiles import FrontEnd, Profile

Array = npt.NDArray[np.float32]


class Heard(NamedTuple):
    """A spectrogram, and how it lies in time.

    Attributes
    ----------
    values : float32 [n_bins, frames]
    front_end : that it was computed by
    seconds : of the samples that it was computed of
    own_seconds : of these, the recording's own; what is beyond them repeats it
    """

    values: Array
    front_end: FrontEnd
    seconds: float
    own_seconds: float


class Rows(NamedTuple):
    """Rows of a network.

    Attributes
    ----------
    rows : float32 [n, *profile.shape]
    slices : (start, end) of each in seconds
    total : how many there would be if their number was not bounded
    """

    rows: Array
    slices: tuple[tuple[float, float], ...]
    total: int


def magma(heard: Heard, profile: Profile, max_rows: int, jpeg: bool) -> Rows:
    """Slices of `slice_seconds` around the middle, as matplotlib draws them in magma."""
    frames = heard.values.shape[1]
    assert profile.slice_seconds, f"{profile.name} renders slices and has to say how long they are"
    step = int(profile.slice_seconds * frames / heard.seconds)
    total = max(1, frames // step)
    starts = _spread(total, max_rows, step, begin=max(0, (frames - total * step) // 2))
    rows = np.stack([magma_picture(heard.values[:, start : start + step], jpeg=jpeg) for start in starts])
    per_frame = min(heard.own_seconds, heard.seconds) / frames
    return Rows(rows, tuple((start * per_frame, (start + step) * per_frame) for start in starts), total)


def squashed(heard: Heard, profile: Profile, max_rows: int, jpeg: bool) -> Rows:
    """Everything in one grey picture."""
    picture = min_max(resize_bilinear(heard.values, *profile.shape[1:]))
    return Rows(grey_picture(picture)[None], ((0.0, heard.seconds),), 1)


def centre(heard: Heard, profile: Profile, max_rows: int, jpeg: bool) -> Rows:
    """The centre in one grey picture, a frame for each column of pixels, repeated where there are fewer.

    Article B stops at [40, 224], which no ViT-B/16 accepts: here the bands are stretched to 224 rows by bilinear
    interpolation and the picture is repeated in the three channels, as article A does.
    """
    height, width = profile.shape[1:]
    scaled, frames = min_max(heard.values), heard.values.shape[1]
    begin = max(0, (frames - width) // 2)
    scaled = np.tile(scaled, -(-width // frames))[:, begin : begin + width]
    end = min(begin + width, frames)
    hop_length, seconds = heard.front_end.hop_length, heard.seconds
    times = begin * hop_length / profile.sr, min(end * hop_length / profile.sr, seconds)
    return Rows(grey_picture(resize_bilinear(scaled, height, width))[None], (times,), 1)


def patches(heard: Heard, profile: Profile, max_rows: int, jpeg: bool) -> Rows:
    """The values themselves in patches that do not overlap, low frequencies first; a remainder is left out."""
    step = profile.shape[-1]
    total = max(1, heard.values.shape[1] // step)
    starts = _spread(total, max_rows, step)
    rows = np.stack([heard.values[None, :, start : start + step] for start in starts])
    per_frame = heard.front_end.hop_length / profile.sr
    times = ((start * per_frame, (start + step) * per_frame) for start in starts)
    return Rows(rows, tuple((begin, min(end, heard.own_seconds)) for begin, end in times), total)


RENDER: dict[str, Callable[[Heard, Profile, int, bool], Rows]] = {
    "magma": magma,
    "squashed": squashed,
    "centre": centre,
    "patches": patches,
}
"""The values of `Profile.render` for spectrograms; each takes also the most rows, and whether JPEG is wanted."""


def slice_seconds(profile: Profile, front_end: FrontEnd) -> float | None:
    """What a row needs at least: a shorter recording is repeated to fill it. None: any length will do."""
    if profile.render == "patches":
        return profile.shape[-1] * front_end.hop_length / profile.sr
    return profile.slice_seconds


def min_max(values: Array) -> Array:
    """Scale to [0, 1]; a picture that is constant after resizing becomes 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _spread(total: int, most: int, step: int, begin: int = 0) -> list[int]:
    """First frames of all rows, or of so many that are evenly spread."""
    taken = np.arange(total) if total <= most else (np.arange(most) * 2 + 1) * total // (2 * most)
    return [begin + int(k) * step for k in taken]
