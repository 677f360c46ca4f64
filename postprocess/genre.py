"""Logits of a recording's slices -> the answer: probabilities, ranking, vote, coarser levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis, computed in float64: float32 [..., classes] -> the same shape."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def aggregate(slice_probabilities: Array) -> Array:
    """Probabilities of the recording: the mean over its slices, float32 [slices, classes] -> [classes]."""
    return slice_probabilities.mean(axis=0, dtype=np.float64).astype(np.float32)


def majority_vote(slice_probabilities: Array) -> tuple[int, float]:
    """The class that most slices put first, and the share of slices that did.

    This is how ccmusic's own demo decides. A tie, which it leaves to chance, goes to the class that is more
    probable over the whole recording.
    """
    classes = slice_probabilities.shape[1]
    votes = np.bincount(slice_probabilities.argmax(axis=1), minlength=classes)
    mean = aggregate(slice_probabilities)
    best = max(range(classes), key=lambda c: (votes[c], mean[c]))
    return best, float(votes[best] / len(slice_probabilities))


def ranking(probabilities: Array, k: int) -> list[int]:
    """The k most probable classes, best first; equal ones in label order."""
    return np.argsort(-probabilities, kind="stable")[:k].tolist()


def level_sums(probabilities: Array, members: Sequence[int], n: int) -> Array:
    """Probabilities of n coarser classes; `members[c]` is the coarser class of class c."""
    return np.bincount(members, weights=probabilities, minlength=n).astype(np.float32)


def answer(probabilities: Array, slice_probabilities: Array, info: dict, manifest: dict) -> dict:
    """Everything about one recording, ready for JSON.

    Parameters
    ----------
    probabilities : float32 [classes], of the recording
    slice_probabilities : float32 [slices, classes]
    info : what the preprocess step says of the recording: model, options, slices, durations, notes
    manifest : labels, levels and origin of the weights
    """
    labels = manifest["labels"]
    top = ranking(probabilities, info["options"]["top_k"])
    voted, share = majority_vote(slice_probabilities)
    slices = [
        {
            "start": round(start, 3),
            "end": round(end, 3),
            "label": labels[best]["en"],
            "probability": float(row[best]),
        }
        for (start, end), row in zip(info["slices"], slice_probabilities, strict=True)
        for best in [int(row.argmax())]
    ]
    levels = {
        level["name"]: [
            {"label": label["en"], "label_zh": label["zh"], "probability": float(p)}
            for label, p in zip(
                level["labels"],
                level_sums(probabilities, level["members"], len(level["labels"])),
                strict=True,
            )
        ]
        for level in manifest.get("levels", [])
    }
    source = manifest["source"]
    return {
        "model": manifest["system"],
        "label": labels[top[0]]["en"],
        "probability": float(probabilities[top[0]]),
        "top": [
            {"label": labels[c]["en"], "label_zh": labels[c]["zh"], "probability": float(probabilities[c])}
            for c in top
        ],
        **({"levels": levels} if levels else {}),
        "vote": {"label": labels[voted]["en"], "share": share},
        "slices": slices,
        "slices_total": info["slices_total"],
        "slices_used": len(slices),
        "duration": round(info["duration"], 3),
        "seconds_used": round(info["seconds_used"], 3),
        "profile": info["options"]["profile"],
        "profile_default": info["options"]["profile"] == manifest["profile"],
        "notes": info["notes"],
        **({"timings": info["milliseconds"]} if info["options"]["timings"] else {}),
        "weights": {
            "origin": source["origin"],
            "source": source["location"],
            "sha256": source["sha256"],
            "demo": manifest["demo"],
        },
    }
