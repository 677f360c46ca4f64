"""How good answers are, and the temperature that makes their probabilities true. NumPy only.

The calibration error and temperature scaling are those of C. Guo et al., "On Calibration of Modern Neural
Networks", ICML 2017.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Whole = npt.NDArray[np.integer[Any]]

BINS = 15  # of the calibration error, as in Guo et al.
LEAST_PROBABILITY = 1e-7  # a label that the server gave less counts as this: one answer must not decide a mean
COOLEST, HOTTEST = 0.05, 20.0  # temperatures that the server takes


def top_k_accuracy(ranks: Array, k: int) -> float:
    """Share of recordings whose true label is among the first k: its rank [n], from 1, infinite if not at all."""
    return float(np.mean(ranks <= k))


def confusion_matrix(truth: Whole, answered: Whole, classes: int) -> Whole:
    """Int [classes, classes]: how many recordings of class (row) were answered with class (column)."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (truth, answered), 1)
    return matrix


def precision_recall_f1(confusion: Whole, support: Whole | Array) -> tuple[Array, Array, Array]:
    """Three float64 [classes]; 0 where there is nothing to divide by.

    `support` [classes] are the recordings of each class, those without an answer included: these are misses.
    """
    hits = np.diag(confusion).astype(np.float64)

    def share(parts: Array, of: Array) -> Array:
        return np.divide(parts, of, out=np.zeros_like(parts), where=of > 0)

    answered = confusion.sum(axis=0).astype(np.float64)
    support = support.astype(np.float64)
    return share(hits, answered), share(hits, support), share(2 * hits, answered + support)


def calibration_error(confidences: Array, correct: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: how far the share of right answers is from the confidence, on average.

    Mean over `bins` equal bins (lower, upper] of the confidence [n], weighted by the answers in each.
    """
    index = np.clip(np.ceil(np.asarray(confidences, np.float64) * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - np.asarray(confidences, np.float64), minlength=bins)
    return float(np.abs(gaps).sum() / len(index))


def negative_log_likelihood(probabilities: Array) -> float:
    """Mean of -ln p over the probabilities [n] that the true labels were given, each at least 1e-7."""
    return float(-np.log(np.maximum(probabilities, LEAST_PROBABILITY)).mean())


def scaled(slices: Array, temperature: float) -> Array:
    """What the server answers at a temperature: slices' probabilities [slices, classes] -> float64 [classes].

    The softmax of a slice's logarithms over the temperature, mean over the slices.
    """
    answer: Array = np.exp(log_softmax(slices, temperature)).mean(axis=0)
    return answer


def log_softmax(slices: Array, temperature: float) -> Array:
    """The logarithms of slices' probabilities at a temperature, float64 [slices, classes]."""
    logits = np.log(np.maximum(slices, np.finfo(np.float32).tiny, dtype=np.float64)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    logarithms: Array = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logarithms


def fit_temperature(recordings: Sequence[Array], truth: Sequence[int]) -> float:
    """The temperature from 0.05 to 20 with the least negative log-likelihood of the true labels.

    `recordings` are the probabilities of each one's slices [slices, classes] at temperature 1. The best of 49
    temperatures, then a golden section between its neighbours: the likelihood of a mean over slices need not have
    one valley only.
    """
    slices = np.concatenate(recordings)
    counts = np.array([len(rows) for rows in recordings])
    starts = np.cumsum(counts) - counts
    rows, columns = np.arange(len(slices)), np.repeat(truth, counts)

    def loss(logarithm: float) -> float:
        own = log_softmax(slices, float(np.exp(logarithm)))[rows, columns]
        # In logarithms to the end: at low temperatures a wrong slice's probability is too small for a float.
        return -float(np.mean(np.logaddexp.reduceat(own, starts)))  # but for a constant

    grid = np.linspace(np.log(COOLEST), np.log(HOTTEST), 49)
    best = int(np.argmin([loss(point) for point in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    golden = (np.sqrt(5) - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > 1e-4:
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = loss(b)
    return float(np.exp((low + high) / 2))
