"""Pictures: what a network looked at over what it saw, and confusion matrices as PNG files."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

ORANGE = (255.0, 96.0, 0.0)
STRONGEST = 0.75  # of the orange, where the map is 1: the picture stays visible beneath


def overlay(picture: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The picture uint8 [height, width, 3] in grey, the orange the stronger the more the network looked there.

    `heat` float32 [rows, columns] in [0, 1] covers the whole picture, row 0 at its top.
    """
    height, width, _ = picture.shape
    grey = picture.mean(axis=2, keepdims=True)
    smooth = interpolation(height, len(heat)) @ heat @ interpolation(width, heat.shape[1]).T
    return np.rint(grey + STRONGEST * smooth[..., None] * (np.array(ORANGE) - grey)).astype(np.uint8)


def interpolation(size: int, cells: int) -> npt.NDArray[np.float64]:
    """Weights [size, cells] of linear interpolation between the cells' centres, constant beyond the outer ones."""
    position = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(cells)), 0)


def can_plot() -> bool:
    """Whether Matplotlib is installed, which the extra `plot` brings."""
    return find_spec("matplotlib") is not None


def plot_confusion(path: Path, title: str, labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> None:
    """Write a confusion matrix as a PNG: counts, the darker the larger their share of the true label's answers."""
    from matplotlib.figure import Figure

    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 3 + 0.42 * len(labels)  # inches
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="answer", ylabel="truth")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(path, format="png", dpi=110)
