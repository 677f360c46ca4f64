"""Turns logits into probabilities: of exclusive classes (softmax) or of independent ones (sigmoid)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def softmax(logits: npt.NDArray) -> Array:
    """Return probabilities over the last axis, computed in float64: [..., classes] -> float32, same shape."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def sigmoid(logits: npt.NDArray) -> Array:
    """Return 1 / (1 + exp(-x)) of each logit, computed in float64: [...] -> float32, same shape."""
    powers = np.exp(-np.abs(logits.astype(np.float64)))  # of the sign that cannot overflow
    return (np.where(logits >= 0, 1.0, powers) / (1 + powers)).astype(np.float32)


# The keys are systems.system.ACTIVATIONS.
ACTIVATIONS: dict[str, Callable[[npt.NDArray], Array]] = {"softmax": softmax, "sigmoid": sigmoid}


def of_manifest(manifest: dict) -> Callable[[npt.NDArray], Array]:
    """Return the activation of the weights that a manifest describes."""
    return ACTIVATIONS[manifest.get("activation", "softmax")]
