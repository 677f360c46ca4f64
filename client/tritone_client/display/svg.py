"""Strips over time as inline SVG, and images as PNG data URIs; it needs only NumPy and zlib."""

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# By the label's index. The contrast is at least 3:1, both on white and on the page's dark background, #16181d.
COLOURS = (
    *("#4a8fd6", "#c2594e", "#2f9e77", "#9470c9", "#b07d12", "#1c9fbd", "#c25f8c", "#5d8935"),
    *("#7186e0", "#c8713f", "#00897c", "#b06fc0", "#7d8590", "#0c83bb", "#9c6b4a", "#3f9a5c"),
)
# Of emotions, by meaning. The first six are also distinct for people who do not see red or green as others do.
EMOTIONS = {
    "angry": "#e33961",
    "disgusted": "#238d75",
    "fearful": "#8c50a2",
    "happy": "#bc8c10",
    "sad": "#2091e2",
    "surprised": "#ae4303",
}
GREYS = {"neutral": "#8f949b", "other": "#7b8088", "unknown": "#686d75", "<unk>": "#686d75"}
COLUMNS = 400  # of an area: more would not be visible on a screen
HEIGHT = 44  # px of a strip


@dataclass(frozen=True)
class Block:
    """A stretch of a strip, from `start` to `end` seconds; `height` from 0 to 1; `title` is a tooltip (HTML)."""

    start: float
    end: float
    colour: str
    height: float
    title: str


def colour(index: int) -> str:
    """Return the colour of the label with this index."""
    return COLOURS[index % len(COLOURS)]


def colour_of(label: str, labels: Sequence[str]) -> str:
    """Return the colour of a label: of emotions by meaning, of others by index.

    It is the first colour if the label is not among `labels`.
    """
    if EMOTIONS.keys() <= set(labels) and (found := (EMOTIONS | GREYS).get(label)):
        return found
    return colour(labels.index(label) if label in labels else 0)


def drawn(value: object, high: float = math.inf) -> float:
    """Return a number clipped to 0 to `high`, so that it can be drawn; 0 for anything else, such as NaN."""
    try:
        number = float(value) if isinstance(value, int | float | np.number) else 0.0
    except OverflowError:
        return 0.0
    return min(max(number, 0.0), high) if math.isfinite(number) else 0.0


def strip(blocks: Sequence[Block], duration: float) -> str:
    """Return blocks over a time axis from 0 to `duration` seconds, each filled up to its height.

    Where blocks overlap, the earlier one ends where the later one begins. The result is empty without a duration.
    """
    if not drawn(duration) or not blocks:
        return ""
    shapes = []
    for block, later in zip(blocks, [*(drawn(b.start) for b in blocks[1:]), duration], strict=True):
        x, end = (1000 * drawn(t, duration) / duration for t in (block.start, min(drawn(block.end), later)))
        width = max(end - x - 1.5, 0.5)  # a gap between neighbours
        top = 100 * (1 - drawn(block.height, 1))
        shapes.append(
            f'<g fill="{block.colour}"><title>{block.title}</title>'
            f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="100" opacity=".22"/>'
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{100 - top:.1f}"/></g>'
        )
    return drawing("".join(shapes)) + axis(duration)


def area(scores: npt.NDArray[Any], duration: float, colours: Sequence[str] = COLOURS) -> str:
    """Return stacked areas of scores [frames, classes], whose rows sum to 1, over a time axis.

    `colours` are those of the classes, and begin again if there are fewer. More than `COLUMNS` frames are
    averaged.
    """
    count = min(len(scores), COLUMNS)
    if not count or not drawn(duration):
        return ""
    scores = np.nan_to_num(scores, posinf=0, neginf=0)
    edges = np.linspace(0, len(scores), count + 1).astype(int)
    means = np.add.reduceat(scores.astype(np.float64), edges[:-1]) / np.diff(edges)[:, None]
    tops = 100 * (1 - np.cumsum(means, axis=1)).clip(0, 1)
    x = 1000 * np.arange(count + 1) / count
    shapes = []
    floor = np.full(count, 100.0)
    for index, top in enumerate(tops.T):
        upper = " ".join(f"{a:.1f},{y:.1f} {b:.1f},{y:.1f}" for a, b, y in zip(x, x[1:], top, strict=False))
        lower = " ".join(
            f"{b:.1f},{y:.1f} {a:.1f},{y:.1f}" for a, b, y in reversed(list(zip(x, x[1:], floor, strict=False)))
        )
        shapes.append(f'<polygon fill="{colours[index % len(colours)]}" points="{upper} {lower}"/>')
        floor = top
    return drawing("".join(shapes)) + axis(duration)


def smoothed(scores: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float64]:
    """Return the means of scores [frames, classes] over `width` neighbouring frames, fewer at both ends."""
    totals = np.cumsum(np.nan_to_num(scores, posinf=0, neginf=0), axis=0, dtype=np.float64)
    totals = np.concatenate([np.zeros((1, scores.shape[1])), totals])
    places = np.arange(len(scores))
    first = np.maximum(places - (width - 1) // 2, 0)
    last = np.minimum(places + width // 2 + 1, len(scores))
    means: npt.NDArray[np.float64] = (totals[last] - totals[first]) / (last - first)[:, None]
    return means


def drawing(shapes: str) -> str:
    """Return an SVG with shapes in 1000 by 100 units, as wide as its container."""
    return (
        '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true" '
        f'style="display:block;width:100%;height:{HEIGHT}px">{shapes}</svg>'
    )


def axis(duration: float) -> str:
    """Return the times beneath a strip: its beginning, round steps, its end; nothing without a duration."""
    if not drawn(duration):
        return ""
    step = next(
        s for s in (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, duration / 2) if duration / s <= 5
    )
    ticks = [t for t in np.arange(0, duration, step) if t == 0 or t <= duration - 0.8 * step]
    marks = "".join(
        f'<span style="position:absolute;left:{100 * t / duration:.2f}%;'
        f'transform:translateX({"0" if t == 0 else "-50%"})">{clock(t)}</span>'
        for t in ticks
    )
    return (
        '<div style="position:relative;height:1.3em;margin-top:3px;font-size:.75em;opacity:.65;'
        f'font-variant-numeric:tabular-nums">{marks}'
        f'<span style="position:absolute;right:0">{clock(duration)}</span></div>'
    )


def clock(value: object) -> str:
    """Return seconds as `1:05` from one minute on, otherwise as `12 s`, `5.5 s` or `0.25 s`."""
    seconds = drawn(value)
    if seconds >= 60:
        return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"
    if seconds >= 10 or seconds % 1 == 0:
        return f"{seconds:.0f} s"
    return f"{seconds:.2g} s"


def png_uri(image: npt.NDArray[np.uint8]) -> str:
    """Return an image uint8 [height, width, 3] as the data URI of a PNG."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return an image uint8 [height, width, 3] as a PNG (RFC 2083: 8 bits, RGB, no filter)."""
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
