"""Turns logits of a recording's slices into the answer: probabilities, ranking, vote, coarser levels.

    logits / temperature -> probabilities of each slice -> vote -> label smoothing -> rules -> uncertainty

Steps that options do not request are skipped, so that they cannot change a bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from answers import activation, calibration
from answers.genre import rules
from answers.genre.info import GenreInfo
from answers.uncertainty import REVIEW_TOP, review, uncertainty
from answers.voting import VOTING, mean

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Analysis:
    """Probabilities of a recording and its slices.

    Attributes
    ----------
    probabilities : float32 [classes], of the recording
    slice_probabilities : float32 [slices, classes]
    ranking : all classes, best first; ties by the mean over the slices, then in label order
    extra : RESULT's entries for the options that are on
    """

    probabilities: Array
    slice_probabilities: Array
    ranking: list[int]
    extra: dict[str, Any] = field(default_factory=dict)


def analyse(logits: Array, info: GenreInfo, manifest: dict, known_rules: rules.Rules | None = None) -> Analysis:
    """Compute probabilities and ranking from the logits of the slices.

    Parameters
    ----------
    logits : float32 [slices, classes]
    info : metadata from the preprocess step: options, features
    manifest : labels and calibration of the weights
    known_rules : rules for the labels of the weights
    """
    options = info.options
    extra: dict[str, Any] = {}
    t = calibration.temperature(options, manifest)
    slices = activation.of_manifest(manifest)(calibration.scaled(logits, t))
    if options.segments or options.voting != "mean":
        extra["voting"] = options.voting
    probabilities = calibration.smoothed(VOTING[options.voting](slices), options.label_smoothing)
    slices = calibration.smoothed(slices, options.label_smoothing)
    extra |= calibration.report(options, t)
    if options.rules:
        assert known_rules is not None and info.features is not None, "the step refuses INFO without them"
        labels = [label["en"] for label in manifest["labels"]]
        probabilities, applied = rules.apply(known_rules, probabilities, info.features, labels)
        extra |= {"features": info.features, "rules": applied}
    ranking = np.lexsort((-mean(slices), -probabilities)).tolist()
    if "voting" in extra:
        extra["agreement"] = float(np.mean(slices.argmax(axis=1) == ranking[0]))
    if options.uncertainty:
        # Votes do not show how certain the slices are: a single vote is always unanimous.
        measured = mean(slices) if options.voting == "majority" else probabilities
        extra |= review(uncertainty(measured, slices, ranking[0]), options.uncertainty, options.review_threshold)
    return Analysis(probabilities, slices, ranking, extra)


def majority_vote(slice_probabilities: Array) -> tuple[int, float]:
    """Return the class that most slices rank first, and the share of these slices.

    ccmusic's own demo decides in this way. It breaks ties at random; here the class that is more probable over the
    whole recording wins.
    """
    classes = slice_probabilities.shape[1]
    votes = np.bincount(slice_probabilities.argmax(axis=1), minlength=classes)
    means = mean(slice_probabilities)
    best = max(range(classes), key=lambda c: (votes[c], means[c]))
    return best, float(votes[best] / len(slice_probabilities))


def level_sums(probabilities: Array, members: Sequence[int], n: int) -> Array:
    """Sum the probabilities of n coarser classes; `members[c]` is the coarser class of class c."""
    return np.bincount(members, weights=probabilities, minlength=n).astype(np.float32)


def to_result(analysis: Analysis, info: GenreInfo, manifest: dict) -> dict:
    """Return RESULT: everything about one recording, ready for JSON.

    Parameters
    ----------
    analysis : probabilities and ranking of the recording
    info : metadata from the preprocess step: options, slices, durations, notes, sha256 of the request
    manifest : labels, levels and origin of the weights
    """
    labels, probabilities = manifest["labels"], analysis.probabilities
    listed = info.options.top_k
    if analysis.extra.get("needs_review"):
        listed = max(listed, REVIEW_TOP)
    top = analysis.ranking[:listed]
    voted, share = majority_vote(analysis.slice_probabilities)
    slices = [
        {
            "start": round(start, 3),
            "end": round(end, 3),
            "label": labels[best]["en"],
            "probability": float(row[best]),
        }
        for (start, end), row in zip(info.slices, analysis.slice_probabilities, strict=True)
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
        "slices_total": info.slices_total,
        "slices_used": len(slices),
        "duration": round(info.duration, 3),
        "seconds_used": round(info.seconds_used, 3),
        "profile": info.options.profile,
        "profile_default": info.options.profile == manifest["profile"],
        **{key: value for key, value in (("heard", info.heard), ("cleaned", info.cleaned)) if value},
        **analysis.extra,
        "notes": info.notes,
        **({"timings": info.milliseconds} if info.options.timings else {}),
        **({"sha256": info.sha256} if info.sha256 else {}),
        "weights": {
            "origin": source["origin"],
            "source": source["location"],
            "sha256": source["sha256"],
            "demo": manifest["demo"],
        },
    }
