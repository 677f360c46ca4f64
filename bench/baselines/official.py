"""The released pipeline (ccmusic's demo): draws each 11.4 s with matplotlib, saves a JPEG and classifies it.

It is also the reference for the tests of profile `ccmusic`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import librosa
import librosa.display
import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from PIL import Image
from torch import nn

from bench.baselines.network import classify

matplotlib.use("Agg")

Array = npt.NDArray[np.float32]

SLICE_SECONDS = 11.4


class OneByOne:
    """Classify slice by slice in float32; the answer is the mean over the slices (in the demo, the majority)."""

    name = "released pipeline"
    what = "librosa, matplotlib, Pillow, PyTorch float32, slice by slice"
    spectrum = "cqt"

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def run(self, recordings: Sequence[bytes]) -> Array:
        """Probabilities float32 [n, classes] of recordings of 11.4 s or more."""
        return np.stack(
            [
                np.concatenate([classify(self._network, row(p)[None]) for p in pictures(data)]).mean(axis=0)
                for data in recordings
            ]
        )


def pictures(recording: bytes, spectrum: str = "cqt") -> Iterator[Image.Image]:
    """Draw the slices of a recording as "cqt" or "mel" spectrograms: RGB images of 496x369, from JPEG."""
    y, sr = librosa.load(io.BytesIO(recording))
    if spectrum == "cqt":
        power = np.abs(librosa.cqt(y=y, sr=sr)) ** 2
    else:
        power = librosa.feature.melspectrogram(y=y, sr=sr)
    db = librosa.power_to_db(power, ref=np.max)
    frames = db.shape[1]
    step = int(SLICE_SECONDS * frames / (len(y) / sr))
    count = frames // step
    begin = (frames - count * step) // 2
    for start in range(begin, begin + count * step, step):
        librosa.display.specshow(db[:, start : start + step])
        plt.axis("off")
        file = io.BytesIO()
        plt.savefig(file, format="jpg", bbox_inches="tight", pad_inches=0.0)
        plt.close()
        yield Image.open(file).convert("RGB")


def row(picture: Image.Image) -> Array:
    """Return the network's input: float32 [3, 224, 224] in [-1, 1]."""
    pixels = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR), np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) / 127.5 - 1
