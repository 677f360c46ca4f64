"""Pictures: what a network looked at over what it saw, and with Matplotlib answers and confusion matrices."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tritone_client.plain import plain
from tritone_client.svg import colour, colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tritone_client.emotion import EmotionPrediction
    from tritone_client.prediction import Prediction

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


def literal(text: object) -> str:
    """A text as Matplotlib shows it: between two dollars it would read a formula, and fail of one that is none."""
    return plain(text).replace("$", r"\$")


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
    axes = figure.add_subplot(title=literal(title), xlabel="answer", ylabel="truth")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = list(map(literal, labels))
    axes.set_xticks(range(len(labels)), names, rotation=90)
    axes.set_yticks(range(len(labels)), names)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(path, format="png", dpi=110)


def plot_prediction(answer: "Prediction") -> "Figure":
    """The ranked labels, the slices over time, and what the network saw where pictures were asked for."""
    pictures = [] if answer.pictures is None else list(answer.pictures)
    for index in range(0 if answer.explanation is None else len(answer.explained)):
        pictures[index] = answer.overlay(index)
    seen = [answer.slices[place] for place in answer.pictured]
    captions = [f"{s.start:.1f}–{s.end:.1f} s: {s.label}" for s in seen]
    figure, time = plot_answer(
        f"{answer.label} {answer.probability:.0%}",
        [(entry.label, entry.probability) for entry in answer.top],
        answer.labels,
        list(zip(pictures, captions, strict=True)),
    )
    plot_parts(time, [(s.start, s.end, s.label, s.probability) for s in answer.slices], answer.labels)
    return figure


def plot_emotion(answer: "EmotionPrediction") -> "Figure":
    """All emotions and the timeline; over it the scores of all frames, where these were asked for."""
    title = "silence" if answer.emotion is None else f"{answer.emotion} {answer.confidence:.0%}"
    ranked = sorted(answer.scores.items(), key=lambda entry: -entry[1])
    figure, time = plot_answer(title, ranked, answer.labels)
    plot_parts(time, [(s.start, s.end, s.emotion, s.confidence) for s in answer.segments], answer.labels)
    if answer.frame_scores is not None:
        seconds = (np.arange(len(answer.frame_scores)) + 0.5) * answer.frame_hop
        for index, scores in enumerate(answer.frame_scores.T):
            time.plot(seconds, scores, color=colour(index), linewidth=0.8)
    return figure


def plot_answer(
    title: str,
    ranked: Sequence[tuple[str, float]],
    labels: Sequence[str],
    pictures: Sequence[tuple[npt.NDArray[np.uint8], str]] = (),
) -> tuple["Figure", "Axes"]:
    """A figure with bars of `ranked` and `pictures` with their captions; and its axes over time, still empty.

    Labels are English: Matplotlib's own font has no Chinese. Raises `ImportError` without Matplotlib.
    """
    if not can_plot():
        raise ImportError("plot() needs Matplotlib: pip install 'tritone-client[plot]' brings it.")
    from matplotlib.figure import Figure

    heights = [0.6 + 0.3 * len(ranked), 1.3] + [2.3] * bool(pictures)  # inches
    figure = Figure(figsize=(7, sum(heights)), layout="constrained")
    figure.suptitle(literal(title))
    parts = figure.subfigures(len(heights), height_ratios=heights)
    bars = parts[0].subplots()
    names, shares = [label for label, _ in ranked], [share for _, share in ranked]
    drawn = bars.barh(list(map(literal, names)), shares, color=[colour_of(label, labels) for label in names])
    bars.bar_label(drawn, [f"{share:.1%}" for share in shares], padding=3)
    bars.invert_yaxis()
    bars.set_xlim(0, 1.12)
    bars.xaxis.set_visible(False)
    bars.spines[:].set_visible(False)
    for axes, (picture, caption) in zip(
        parts[2].subplots(1, len(pictures), squeeze=False)[0] if pictures else (), pictures, strict=True
    ):
        axes.imshow(picture)
        axes.set_title(literal(caption), fontsize=8)
        axes.set_axis_off()
    return figure, parts[1].subplots()


def plot_parts(axes: "Axes", parts: Sequence[tuple[float, float, str, float]], labels: Sequence[str]) -> None:
    """Parts of a recording over time: start and end in seconds, label in its colour, probability as height."""
    for start, end, label, share in parts:
        axes.bar(start, share, end - start, align="edge", color=colour_of(label, labels), edgecolor="white")
    axes.set_ylim(0, 1)
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
