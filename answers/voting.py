"""Probabilities of the slices -> probabilities of the recording: their mean, a vote, or a mean by confidence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def mean(slices: Array) -> Array:
    """Mean over the slices, float32 [slices, classes] -> [classes]."""
    return slices.mean(axis=0, dtype=np.float64).astype(np.float32)


def majority(slices: Array) -> Array:
    """Share of the slices that put each class first: one slice, one vote, however unsure."""
    votes = np.bincount(slices.argmax(axis=1), minlength=slices.shape[1])
    return (votes / len(slices)).astype(np.float32)


def by_confidence(slices: Array) -> Array:
    """Mean weighted by how sure each slice is: 1 minus its normalised entropy. Equal weights if none is at all."""
    weights = 1 - normalised_entropy(slices)
    weights = weights if weights.sum() > 0 else np.ones(len(slices))
    return (weights @ slices.astype(np.float64) / weights.sum()).astype(np.float32)


def normalised_entropy(probabilities: Array) -> npt.NDArray[np.float64]:
    """-sum p ln p / ln K over the last axis, K classes: 0 where one is certain, 1 where all are equal."""
    p = probabilities.astype(np.float64)
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)
    return np.clip(-terms.sum(-1) / np.log(p.shape[-1]), 0, 1)


# The values of the option `voting`; each function takes float32 [slices, classes] and gives [classes].
VOTING: dict[str, Callable[[Array], Array]] = {"mean": mean, "majority": majority, "confidence": by_confidence}
