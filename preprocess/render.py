"""Draws spectrograms as the images that genre networks were trained on.

The released networks expect matplotlib's magma rendering of `librosa.display.specshow`, saved without axes as a
496x369 JPEG and resized to 224x224 by Pillow. Matplotlib itself is not needed: a pixel shows the cell that
contains its centre, and the palette is a table of 256 colours (`magma.npy`, uint8 [256, 3]; matplotlib's magma by
S. van der Walt and N. Smith, CC0, rounded like the Agg renderer).
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]

SIZE = 224  # pixels; width and height of the networks' input

# Pixels of the axes in matplotlib's default figure of 6.4 x 4.8 inches at 100 dpi: they cover 77.5 % x 77 %, which
# is 496 x 369.6, and the saved box keeps complete rows from the bottom.
WIDTH, HEIGHT = 496, 369
AXES_TENTHS = 3696  # height of the axes in tenths of a pixel, so that cell borders are exact in integers
JPEG_QUALITY = 75  # Pillow's default

MAGMA: npt.NDArray[np.uint8] = np.load(Path(__file__).with_name("magma.npy"), allow_pickle=False)


def magma_image(db: Array, *, jpeg: bool = True) -> Array:
    """Render a spectrogram slice as the official pipeline does.

    Parameters
    ----------
    db : float32 [n_bins, frames]; the palette spans its own minimum and maximum, and a constant slice is black
    jpeg : whether to apply the JPEG round trip (quality 75, 4:2:0) of the training images

    Returns
    -------
    float32 [3, 224, 224] in [-1, 1], lowest frequency at the bottom
    """
    low, high = db.min(), db.max()
    scale = 256 / (high - low) if high > low else 0.0
    index = np.minimum((db - low) * np.float32(scale), 255).astype(np.uint8)
    rows, columns = _pixel_cells(*db.shape)
    image = Image.fromarray(MAGMA[index[rows[:, None], columns]])
    if jpeg:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=JPEG_QUALITY)
        image = Image.open(file)
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) / 127.5 - 1


@lru_cache(maxsize=16)
def _pixel_cells(n_bins: int, frames: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the bin that each row of pixels shows (from the top) and the frame that each column shows."""
    from_bottom = 2 * (HEIGHT - np.arange(HEIGHT)) - 1  # centre of the pixel, in half pixels
    columns = (2 * np.arange(WIDTH) + 1) * frames // (2 * WIDTH)
    return from_bottom * n_bins * 5 // AXES_TENTHS, columns


def grey_image(values: Array) -> Array:
    """Repeat a grey image, row 0 at the top, in three channels: float32 [h, w] -> [3, h, w]."""
    return np.repeat(values[None], 3, axis=0)


def resize_bilinear(values: Array, height: int, width: int) -> Array:
    """Resize like OpenCV's INTER_LINEAR, float32 [h, w] -> [height, width].

    Pixel centres are at half pixels, and there is no smoothing before shrinking.
    """
    top, bottom, down = _taps(values.shape[0], height)
    left, right, across = _taps(values.shape[1], width)
    columns = values[:, left] * (1 - across) + values[:, right] * across
    return columns[top] * (1 - down)[:, None] + columns[bottom] * down[:, None]


@lru_cache(maxsize=32)
def _taps(size: int, target: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Array]:
    """Return the two source positions beside each target position, and the weight of the second."""
    centre = np.clip((np.arange(target) + 0.5) * (size / target) - 0.5, 0, size - 1)
    first = centre.astype(np.intp)
    return first, np.minimum(first + 1, size - 1), (centre - first).astype(np.float32)
