"""Combines the probabilities of slices into those of the recording: mean, vote, or mean weighted by confidence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def mean(slices: Array) -> Array:
    """Return the mean over the slices, float32 [slices, classes] -> [classes]."""
    return slices.mean(axis=0, dtype=np.float64).astype(np.float32)


def majority(slices: Array) -> Array:
    """Return the share of slices that rank each class first: one vote per slice, however uncertain."""
    votes = np.bincount(slices.argmax(axis=1), minlength=slices.shape[1])
    return (votes / len(slices)).astype(np.float32)


def by_confidence(slices: Array) -> Array:
    """Return the mean weighted by 1 - normalised entropy of each slice; equal weights if all weights are 0."""
    weights = 1 - normalised_entropy(slices)
    weights = weights if weights.sum() > 0 else np.ones(len(slices))
    return (weights @ slices.astype(np.float64) / weights.sum()).astype(np.float32)


def normalised_entropy(probabilities: Array) -> npt.NDArray[np.float64]:
    """Return -sum p ln p / ln K over the last axis of K classes: 0 if one is certain, 1 if all are equal."""
    p = probabilities.astype(np.float64)
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)
    return np.clip(-terms.sum(-1) / np.log(p.shape[-1]), 0, 1)


# Values of the option `voting`; each function maps float32 [slices, classes] to [classes].
VOTING: dict[str, Callable[[Array], Array]] = {"mean": mean, "majority": majority, "confidence": by_confidence}
