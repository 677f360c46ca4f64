"""Turns features and logits of a recording's frames into the answer: emotions, timeline of segments, embedding.

The network's rows are windows of the recording. Each has frames of its own and frames that only give context; the
own frames of all windows, joined, are the frames of the recording. The projection from features to logits is
linear, so the mean of the frames' logits is the network's output for the mean feature: the answer for the
recording.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from answers import calibration
from answers.activation import softmax
from answers.emotion.info import EmotionInfo
from answers.uncertainty import REVIEW_TOP, review, uncertainty

Array = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

# Time from the start of one frame to the next: 320 samples at 16 kHz.
FRAME_SECONDS = 0.02
# Start of the names of labels that the weights were not trained for (checkpoints of five emotions).
UNUSED = "unuse"


@dataclass(frozen=True)
class Analysis:
    """Emotions of a recording, its segments and its frames.

    Attributes
    ----------
    scores : float32 [classes], probabilities for the recording; equal for all usable labels if it is silent
    frame_scores : float32 [frames, classes], of every single frame, not smoothed
    segments : {"start", "end" (s), "emotion", "confidence"} from the beginning to the end; empty if silent
    embedding : float32 [width], mean feature
    frame_embeddings : float32 [frames, width], features; without the option [1, width], their mean
    extra : RESULT's entries for the options that are on
    """

    scores: Array
    frame_scores: Array
    segments: list[dict]
    embedding: Array
    frame_embeddings: Array
    extra: dict = field(default_factory=dict)


def analyse(features: Array, frame_logits: Array, info: EmotionInfo, manifest: dict) -> Analysis:
    """Join the windows of a recording and compute scores, segments and embeddings.

    Parameters
    ----------
    features : float32 [windows, frames, width]
    frame_logits : float32 [windows, frames, classes]
    info : metadata from the preprocess step: options, windows, duration, silent
    manifest : labels and calibration of the weights
    """
    options, names = info.options, [label["en"] for label in manifest["labels"]]
    usable = np.array([not name.startswith(UNUSED) for name in names])
    own_features = own_frames(features, info.windows)
    logits = np.concatenate(own_frames(frame_logits, info.windows))
    frames, extra = len(logits), {}
    if info.silent:
        scores = (usable / usable.sum()).astype(np.float32)
        frame_scores, segments = np.tile(scores, (frames, 1)), []
        smoothed = frame_scores
    else:
        t = calibration.temperature(options, manifest)
        logits = calibration.scaled(logits, t)
        scores, frame_scores, smoothed = (
            calibration.smoothed(probabilities(values, usable), options.label_smoothing, usable)
            for values in (
                logits.mean(axis=0, dtype=np.float64),
                logits,
                moving_average(logits, options.smoothing),
            )
        )
        segments = timeline(smoothed, options.min_segment, info.duration, names)
        extra = calibration.report(options, t)
    if options.uncertainty:  # over the usable labels
        best = int(scores[usable].argmax())
        measures = uncertainty(scores[usable], smoothed[:, usable], best)
        extra |= review(measures, options.uncertainty, options.review_threshold)
    total = sum(part.sum(axis=0, dtype=np.float64) for part in own_features)
    embedding = (total / frames).astype(np.float32)
    # Not an empty array: Triton's cache rejects answers with one.
    frame_embeddings = np.concatenate(own_features) if options.frame_embeddings else embedding[None]
    return Analysis(scores, frame_scores, segments, embedding, frame_embeddings, extra)


def own_frames(rows: Array, windows: Sequence[Sequence[int]]) -> list[Array]:
    """Return the own frames of each window, [windows, frames, n] -> views [frames of the window, n].

    A window is (first, start, stop): its row begins with the recording's frame `first`, and its own frames are
    those from `start` to before `stop`.
    """
    return [row[start - first : stop - first] for row, (first, start, stop) in zip(rows, windows, strict=True)]


def probabilities(logits: npt.NDArray, usable: Flags) -> Array:
    """Compute softmax over the usable classes; the others get 0: [..., classes] -> float32 of that shape."""
    return softmax(np.where(usable, logits, -np.inf))


def moving_average(values: Array, seconds: float) -> npt.NDArray[np.float64]:
    """Compute the centred mean over time, over fewer frames at the edges: [frames, n] -> float64 [frames, n].

    The width is odd, so that the mean is centred: `seconds` in frames, plus one if that is even.
    """
    half = round(seconds / FRAME_SECONDS) // 2
    frames = np.arange(len(values))
    begin, end = np.maximum(frames - half, 0), np.minimum(frames + half + 1, len(values))
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, dtype=np.float64, out=sums[1:])
    return (sums[end] - sums[begin]) / (end - begin)[:, None]


def timeline(smoothed: Array, min_seconds: float, duration: float, names: Sequence[str]) -> list[dict]:
    """Divide the recording into segments with one emotion each.

    Consecutive frames with the same best emotion form a segment. While a segment is shorter than `min_seconds`,
    the shortest one (the first of equal ones) joins the neighbour whose emotion scores higher over its frames. A
    recording that is itself shorter keeps one segment.

    Parameters
    ----------
    smoothed : float32 [frames, classes], probabilities
    min_seconds : minimum length of a segment
    duration : seconds of the recording, the end of the last segment
    names : names of the classes

    Returns
    -------
    [{"start": s, "end": s, "emotion": name, "confidence": mean of its smoothed scores}]
    """
    sums = np.zeros((len(smoothed) + 1, smoothed.shape[1]))
    np.cumsum(smoothed, axis=0, dtype=np.float64, out=sums[1:])
    best = smoothed.argmax(axis=1)
    bounds = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), len(best)]
    runs = [_Run(start, stop, int(best[start])) for start, stop in pairwise(bounds)]
    # The small offset corrects rounding errors: 0.14 / 0.02 is 7.000000000000001.
    runs = _without_short(runs, math.ceil(min_seconds / FRAME_SECONDS - 1e-6), sums)
    starts = [round(FRAME_SECONDS * run.start, 3) for run in runs]
    return [
        {
            "start": start,
            "end": end,
            "emotion": names[run.emotion],
            "confidence": float((sums[run.stop] - sums[run.start])[run.emotion] / (run.stop - run.start)),
        }
        for run, start, end in zip(runs, starts, [*starts[1:], round(duration, 3)], strict=True)
    ]


@dataclass(eq=False)
class _Run:
    """Consecutive frames of one emotion, from `start` to before `stop`, and its neighbours."""

    start: int
    stop: int
    emotion: int
    before: _Run | None = None
    after: _Run | None = None
    absorbed: bool = False


def _without_short(runs: list[_Run], least: int, sums: npt.NDArray[np.float64]) -> list[_Run]:
    """Merge runs of fewer than `least` frames into a neighbour, shortest first; `sums` are running sums of scores.

    The queue holds an entry for every length that a run has had; outdated entries are ignored. A queue is needed
    because 10 minutes of speech can start with more than ten thousand runs.
    """
    for left, right in pairwise(runs):
        left.after, right.before = right, left
    queue = [(run.stop - run.start, i) for i, run in enumerate(runs)]
    heapq.heapify(queue)
    while queue and queue[0][0] < least:
        length, i = heapq.heappop(queue)
        run = runs[i]
        neighbours = [neighbour for neighbour in (run.before, run.after) if neighbour]
        if run.absorbed or length != run.stop - run.start or not neighbours:
            continue
        scores = sums[run.stop] - sums[run.start]
        run.emotion = max(neighbours, key=lambda neighbour: scores[neighbour.emotion]).emotion
        for neighbour in neighbours:
            if neighbour.emotion == run.emotion:
                _absorb(run, neighbour)
        heapq.heappush(queue, (run.stop - run.start, i))
    return [run for run in runs if not run.absorbed]


def _absorb(run: _Run, neighbour: _Run) -> None:
    """Merge a neighbour into a run."""
    neighbour.absorbed = True
    if neighbour is run.before:
        run.start, run.before = neighbour.start, neighbour.before
        if run.before:
            run.before.after = run
    else:
        run.stop, run.after = neighbour.stop, neighbour.after
        if run.after:
            run.after.before = run


def to_result(analysis: Analysis, info: EmotionInfo, manifest: dict) -> dict:
    """Return RESULT: everything about one recording, ready for JSON.

    Parameters
    ----------
    analysis : scores, segments and embeddings of the recording
    info : metadata from the preprocess step: options, windows, duration, silent, notes, milliseconds, sha256 of
        the request
    manifest : labels and origin of the weights
    """
    labels, source, windows = manifest["labels"], manifest["source"], len(info.windows)
    best = None if info.silent else int(analysis.scores.argmax())
    notes = list(info.notes)
    if windows > 1:
        notes.append(
            f"The answer is joined from {windows} overlapping windows of the recording and is an approximation."
        )
    listed = REVIEW_TOP if best is not None and analysis.extra.get("needs_review") else 0
    top = np.argsort(-analysis.scores, kind="stable")[:listed].tolist()
    return {
        "model": manifest["system"],
        "emotion": None if best is None else labels[best]["en"],
        "emotion_zh": None if best is None else labels[best]["zh"],
        "confidence": None if best is None else float(analysis.scores[best]),
        "scores": {label["en"]: float(p) for label, p in zip(labels, analysis.scores, strict=True)},
        "labels_zh": [label["zh"] for label in labels],
        "segments": analysis.segments,
        "frames": len(analysis.frame_scores),
        "frame_hop": FRAME_SECONDS,
        "windows": windows,
        "silence": info.silent,
        "duration": round(info.duration, 3),
        "profile": manifest["profile"],
        **({"cleaned": info.cleaned} if info.cleaned else {}),
        **analysis.extra,
        **({"top": [_named(labels[c], analysis.scores[c]) for c in top]} if top else {}),
        "notes": notes,
        **({"timings": info.milliseconds} if info.options.timings else {}),
        **({"sha256": info.sha256} if info.sha256 else {}),
        "weights": {
            "origin": source["origin"],
            "source": source["location"],
            "sha256": source["sha256"],
            "demo": manifest["demo"],
        },
    }


def _named(label: dict[str, str], probability: float) -> dict:
    """Return a label with its probability, in the form of genre answers."""
    return {"label": label["en"], "label_zh": label["zh"], "probability": float(probability)}
