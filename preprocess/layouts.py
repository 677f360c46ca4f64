"""Turns a spectrogram into rows of a network, in the ways that profiles name by `render`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from preprocess.render import grey_image, magma_image, resize_bilinear
from systems.profiles import FrontEnd, Profile

Array = npt.NDArray[np.float32]


class Spectrogram(NamedTuple):
    """A spectrogram and its time axis.

    Attributes
    ----------
    values : float32 [n_bins, frames]
    front_end : how it was computed
    seconds : length of the samples that it was computed from
    own_seconds : length of the recording itself; any samples after that repeat it
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
    slices : (start, end) of each row in seconds
    total : number of rows without the limit
    """

    rows: Array
    slices: tuple[tuple[float, float], ...]
    total: int


def magma(spectrogram: Spectrogram, profile: Profile, max_rows: int, jpeg: bool) -> Rows:
    """Cut slices of `slice_seconds`, centred in the recording, and draw them as matplotlib does in magma."""
    frames = spectrogram.values.shape[1]
    assert profile.slice_seconds, f"{profile.name} renders slices and must have their length"
    step = int(profile.slice_seconds * frames / spectrogram.seconds)
    total = max(1, frames // step)
    starts = _spread(total, max_rows, step, begin=max(0, (frames - total * step) // 2))
    rows = np.stack([magma_image(spectrogram.values[:, start : start + step], jpeg=jpeg) for start in starts])
    per_frame = min(spectrogram.own_seconds, spectrogram.seconds) / frames
    return Rows(rows, tuple((start * per_frame, (start + step) * per_frame) for start in starts), total)


def squashed(spectrogram: Spectrogram, profile: Profile, max_rows: int, jpeg: bool) -> Rows:
    """Resize the whole spectrogram to one grey image."""
    image = min_max(resize_bilinear(spectrogram.values, *profile.shape[1:]))
    return Rows(grey_image(image)[None], ((0.0, spectrogram.seconds),), 1)


def centre(spectrogram: Spectrogram, profile: Profile, max_rows: int, jpeg: bool) -> Rows:
    """Draw the centre as one grey image with one frame per column, repeating the frames if there are too few.

    Article B (systems/profiles.py) ends with [40, 224], a shape that ViT-B/16 does not accept: here the bands are
    stretched to 224 rows by bilinear interpolation, and the image is repeated in three channels, as in article A.
    """
    height, width = profile.shape[1:]
    scaled, frames = min_max(spectrogram.values), spectrogram.values.shape[1]
    begin = max(0, (frames - width) // 2)
    scaled = np.tile(scaled, -(-width // frames))[:, begin : begin + width]
    end = min(begin + width, frames)
    hop_length, seconds = spectrogram.front_end.hop_length, spectrogram.seconds
    times = begin * hop_length / profile.sr, min(end * hop_length / profile.sr, seconds)
    return Rows(grey_image(resize_bilinear(scaled, height, width))[None], (times,), 1)


def patches(spectrogram: Spectrogram, profile: Profile, max_rows: int, jpeg: bool) -> Rows:
    """Cut the values into patches that do not overlap, low frequencies first, and drop the remainder."""
    step = profile.shape[-1]
    total = max(1, spectrogram.values.shape[1] // step)
    starts = _spread(total, max_rows, step)
    rows = np.stack([spectrogram.values[None, :, start : start + step] for start in starts])
    per_frame = spectrogram.front_end.hop_length / profile.sr
    times = ((start * per_frame, (start + step) * per_frame) for start in starts)
    return Rows(rows, tuple((begin, min(end, spectrogram.own_seconds)) for begin, end in times), total)


# The values of `Profile.render` for spectrograms. Each function takes the maximum number of rows and whether to
# apply the JPEG round trip; only some of them use these.
RENDER: dict[str, Callable[[Spectrogram, Profile, int, bool], Rows]] = {
    "magma": magma,
    "squashed": squashed,
    "centre": centre,
    "patches": patches,
}


def slice_seconds(profile: Profile, front_end: FrontEnd) -> float | None:
    """Return the seconds that a row needs; `profiles` repeats a shorter recording to fill it. None: any length."""
    if profile.render == "patches":
        return profile.shape[-1] * front_end.hop_length / profile.sr
    return profile.slice_seconds


def min_max(values: Array) -> Array:
    """Scale to [0, 1]; constant values, which an image can have after resizing, become 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _spread(total: int, most: int, step: int, begin: int = 0) -> list[int]:
    """Return the first frame of every row, or of `most` evenly spaced ones if there are more."""
    taken = np.arange(total) if total <= most else (np.arange(most) * 2 + 1) * total // (2 * most)
    return [begin + int(k) * step for k in taken]
