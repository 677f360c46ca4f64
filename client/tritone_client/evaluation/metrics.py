"""Measures of the quality of answers, and the temperature that calibrates probabilities. NumPy only.

The calibration error and temperature scaling are those of C. Guo et al., "On Calibration of Modern Neural
Networks", ICML 2017.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]

BINS = 15  # of the calibration error, as in Guo et al.
LEAST_PROBABILITY = 1e-7  # lower limit of a true label's probability, so that one answer cannot dominate a mean
COOLEST, HOTTEST = 0.05, 20.0  # the temperatures that the server accepts


def top_k_accuracy(ranks: Array, k: int) -> float:
    """Return the share of ranks [n] that are at most k.

    A rank is that of a recording's true label, from 1; infinite without an answer.
    """
    return float(np.mean(ranks <= k))


def confusion_matrix(truth: Integers, answered: Integers, classes: int) -> Integers:
    """Return int64 [classes, classes]: the number of recordings of class (row) answered with class (column)."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (truth, answered), 1)
    return matrix


def precision_recall_f1(confusion: Integers, support: Integers | Array) -> tuple[Array, Array, Array]:
    """Return precision, recall and F1, each float64 [classes]; 0 where the divisor is 0.

    `support` [classes] is the number of recordings of each class, including those without an answer, the misses.
    """
    hits = np.diag(confusion).astype(np.float64)

    def share(parts: Array, of: Array) -> Array:
        return np.divide(parts, of, out=np.zeros_like(parts), where=of > 0)

    answered = confusion.sum(axis=0).astype(np.float64)
    support = support.astype(np.float64)
    return share(hits, answered), share(hits, support), share(2 * hits, answered + support)


def calibration_error(confidences: Array, correct: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """Return the expected calibration error: the mean gap between the share of correct answers and the confidence.

    The mean is over `bins` equal bins (lower, upper] of the confidence [n], weighted by the answers in each.
    """
    index = np.clip(np.ceil(np.asarray(confidences, np.float64) * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - np.asarray(confidences, np.float64), minlength=bins)
    return float(np.abs(gaps).sum() / len(index))


def negative_log_likelihood(probabilities: Array) -> float:
    """Return the mean of -ln p over the probabilities [n] of the true labels, each at least 1e-7."""
    return float(-np.log(np.maximum(probabilities, LEAST_PROBABILITY)).mean())


def scaled(slices: Array, temperature: float) -> Array:
    """Return the server's answer at a temperature, float64 [classes], from probabilities [slices, classes].

    This is the softmax of each slice's logarithms divided by the temperature, averaged over the slices.
    """
    answer: Array = np.exp(log_softmax(slices, temperature)).mean(axis=0)
    return answer


def log_softmax(slices: Array, temperature: float) -> Array:
    """Return the logarithms of slices' probabilities at a temperature, float64 [slices, classes]."""
    logits = np.log(np.maximum(slices, np.finfo(np.float32).tiny, dtype=np.float64)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    logarithms: Array = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logarithms


def fit_temperature(recordings: Sequence[Array], truth: Sequence[int]) -> float:
    """Return the temperature from 0.05 to 20 with the least negative log-likelihood of the true labels.

    `recordings` are the probabilities of each recording's slices [slices, classes] at temperature 1. The search
    takes the best of 49 temperatures, then a golden section between its neighbours: the likelihood of a mean over
    slices may have more than one minimum.
    """
    slices = np.concatenate(recordings)
    counts = np.array([len(rows) for rows in recordings])
    starts = np.cumsum(counts) - counts
    rows, columns = np.arange(len(slices)), np.repeat(truth, counts)

    def loss(logarithm: float) -> float:
        own = log_softmax(slices, float(np.exp(logarithm)))[rows, columns]
        # In logarithms throughout: at low temperatures the probability of a wrong slice underflows.
        return -float(np.mean(np.logaddexp.reduceat(own, starts)))  # up to a constant

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
