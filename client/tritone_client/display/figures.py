"""Overlays of what a network looked at on its input, and Matplotlib figures (extra `plot`)."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from tritone_client.answer import Answer, Part
from tritone_client.display.svg import colour_of
from tritone_client.plain import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ORANGE = (255.0, 96.0, 0.0)
DEMO = "demo weights: the answer means nothing for real recordings"
STRONGEST = 0.75  # opacity of the orange where the map is 1: the image stays visible beneath


def overlay(image: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return an image uint8 [height, width, 3] in grey, with more orange where the network looked more.

    `heat` float32 [rows, columns] in [0, 1] covers the whole image, row 0 at its top.
    """
    height, width, _ = image.shape
    grey = image.mean(axis=2, keepdims=True)
    smooth = interpolation(height, len(heat)) @ heat @ interpolation(width, heat.shape[1]).T
    mixed = grey + STRONGEST * smooth[..., None] * (np.array(ORANGE) - grey)
    rounded: npt.NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return rounded


def interpolation(size: int, cells: int) -> npt.NDArray[np.float64]:
    """Return weights [size, cells] of linear interpolation between the cells' centres, constant at the edges."""
    position = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    weights: npt.NDArray[np.float64] = np.maximum(1 - np.abs(position[:, None] - np.arange(cells)), 0)
    return weights


def literal(text: object) -> str:
    """Return a text for Matplotlib, which would read text between two dollar signs as a formula."""
    return plain(text).replace("$", r"\$")


def can_plot() -> bool:
    """Return whether Matplotlib is installed, which the extra `plot` installs."""
    return find_spec("matplotlib") is not None


def plot_confusion(
    stream: BinaryIO, title: str, labels: Sequence[str], confusion: Sequence[Sequence[int]]
) -> None:
    """Write a confusion matrix as a PNG: counts, darker for a larger share of the true label's recordings."""
    from matplotlib.figure import Figure

    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 3 + 0.42 * len(labels)  # inches
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot(title=literal(title), xlabel="answer", ylabel="truth")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = list(map(literal, labels))
    axes.set_xticks(range(len(labels)), names, rotation=90)
    axes.set_yticks(range(len(labels)), names)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(stream, format="png", dpi=110)


def plot_answer(answer: Answer) -> "Figure":
    """Return a figure of an answer: ranked labels, parts over time with the scores of frames, images.

    Labels are in English: Matplotlib's own font has no Chinese. Raises `ImportError` without Matplotlib.
    """
    if not can_plot():
        raise ImportError("plot() needs Matplotlib: run pip install 'tritone-client[plot]'.")
    from matplotlib.figure import Figure

    best = answer.best
    ranked = [(entry.label, entry.probability) for entry in answer.ranking]
    if best is None:  # silence: all labels are equally probable
        ranked = list(zip(answer.labels, answer.probabilities.tolist(), strict=True))
    heights = [0.6 + 0.3 * len(ranked), 1.3] + [2.3] * bool(answer.images)  # inches
    figure = Figure(figsize=(7, sum(heights)), layout="constrained")
    title = "silence" if best is None else literal(f"{best.label} {best.probability:.0%}")
    figure.suptitle(f"{title}\n{DEMO}" if answer.weights.demo else title)
    rows = figure.subfigures(len(heights), height_ratios=heights)
    plot_bars(rows[0].subplots(), ranked, answer.labels)
    time = rows[1].subplots()
    plot_parts(time, answer.parts, answer.labels, answer.duration)
    if answer.frames is not None:
        seconds = (np.arange(len(answer.frames.scores)) + 0.5) * answer.frames.hop
        for index, scores in enumerate(answer.frames.scores.T):
            time.plot(seconds, scores, color=colour_of(answer.labels[index], answer.labels), linewidth=0.8)
    if answer.images:
        columns = rows[2].subplots(1, len(answer.images), squeeze=False)[0]
        for axes, image in zip(columns, answer.images, strict=True):
            axes.imshow(image.picture if image.overlay is None else image.overlay)
            caption = f"{image.part.start:.1f}–{image.part.end:.1f} s: {image.part.label}"
            axes.set_title(literal(caption), fontsize=8)
            height, width, _ = image.picture.shape
            axes.set_yticks(
                [height * (1 - t.at) - 0.5 for t in image.ticks], [literal(t.label) for t in image.ticks]
            )
            axes.set_xticks([-0.5, width - 0.5], [f"{s:.1f} s" for s in (image.part.start, image.part.end)])
            axes.tick_params(labelsize=6)
    return figure


def plot_bars(axes: "Axes", ranked: Sequence[tuple[str, float]], labels: Sequence[str]) -> None:
    """Draw a bar for each label, in its colour, with its probability at the end."""
    names, shares = [label for label, _ in ranked], [share for _, share in ranked]
    drawn_bars = axes.barh(list(map(literal, names)), shares, color=[colour_of(label, labels) for label in names])
    axes.bar_label(drawn_bars, [f"{share:.1%}" for share in shares], padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)


def plot_parts(axes: "Axes", parts: Sequence[Part], labels: Sequence[str], duration: float) -> None:
    """Draw the parts of a recording over time: each in its label's colour, as high as its probability.

    The axis is as long as the recording, `duration` seconds, or up to the end of a padded last part.
    """
    for part in parts:
        width = part.end - part.start
        shade = colour_of(part.label, labels)
        axes.bar(part.start, part.probability, width, align="edge", color=shade, edgecolor="white")
    axes.set_ylim(0, 1)
    axes.set_xlim(0, max([duration, *(part.end for part in parts)]) or 1)
    axes.set_xlabel("seconds")
    axes.set_ylabel("probability")
    axes.spines[["top", "right"]].set_visible(False)
