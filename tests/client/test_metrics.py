"""Metrics against scikit-learn, loops and sums by hand; temperatures against those that truths were drawn with."""

import math

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from tritone_client.evaluation import metrics


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [400, 6] that are right more often than not, and truths; class 5 never occurs."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 400)
    logits = rng.normal(0, 1.5, (400, 6))
    logits[np.arange(400), truth] += 2
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("k", [1, 3])
def test_top_k_accuracy(answers: tuple[np.ndarray, np.ndarray], k: int):
    probabilities, truth = answers
    ranks = 1 + (probabilities > probabilities[np.arange(400), truth][:, None]).sum(axis=1)
    expected = top_k_accuracy_score(truth, probabilities, k=k, labels=range(6))
    assert metrics.top_k_accuracy(ranks, k) == pytest.approx(expected)
    assert metrics.top_k_accuracy(np.array([1, 3, 4, np.inf]), k) == (0.25 if k == 1 else 0.5)


def test_confusion_and_per_class(answers: tuple[np.ndarray, np.ndarray]):
    probabilities, truth = answers
    answered = probabilities.argmax(axis=1)
    found = metrics.confusion_matrix(truth, answered, 6)
    np.testing.assert_array_equal(found, confusion_matrix(truth, answered, labels=range(6)))
    *expected, support = precision_recall_fscore_support(truth, answered, labels=range(6), zero_division=0)
    np.testing.assert_allclose(metrics.precision_recall_f1(found, support), expected)
    assert accuracy_score(truth, answered) == np.trace(found) / 400


def test_what_was_not_answered_is_a_miss():
    """Two of class 0, one without an answer; scikit-learn is told of an answer in a class of its own."""
    found = metrics.confusion_matrix(np.array([0, 1]), np.array([0, 0]), 2)
    *expected, support = precision_recall_fscore_support([0, 0, 1], [0, 2, 0], labels=[0, 1], zero_division=0)
    np.testing.assert_allclose(metrics.precision_recall_f1(found, support), expected)


def test_negative_log_likelihood(answers: tuple[np.ndarray, np.ndarray]):
    probabilities, truth = answers
    found = metrics.negative_log_likelihood(probabilities[np.arange(400), truth])
    assert found == pytest.approx(log_loss(truth, probabilities, labels=range(6)))
    assert metrics.negative_log_likelihood(np.array([0.0, 1.0])) == pytest.approx(-math.log(1e-7) / 2)


def test_calibration_error_by_hand_and_by_a_loop(answers: tuple[np.ndarray, np.ndarray]):
    # Two answers of 0.9, one right; one of 0.2, wrong: 2/3 * |0.5 - 0.9| + 1/3 * |0 - 0.2|.
    found = metrics.calibration_error(np.array([0.9, 0.9, 0.2]), np.array([True, False, False]))
    assert found == pytest.approx((2 * 0.4 + 0.2) / 3)
    # The bins are (lower, upper]: 1/15 and just above it are not of one bin, so that gaps do not cancel.
    found = metrics.calibration_error(np.array([1 / 15, 0.067, 0.0, 1.0]), np.array([True, False, False, True]))
    assert found == pytest.approx((abs(1 - 1 / 15) + 0.067) / 4)
    probabilities, truth = answers
    confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    expected = 0.0
    for m in range(15):
        inside = (confidences > m / 15) & (confidences <= (m + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidences[inside].mean())
    assert metrics.calibration_error(confidences, right) == pytest.approx(expected)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_the_truth_was_drawn_with_is_found(temperature: float):
    """Truths drawn from softmax(logits / T), one slice each: the fit must find T."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (4000, 8))
    drawn = softmax(logits / temperature)
    truth = [int(rng.choice(8, p=row)) for row in drawn]
    found = metrics.fit_temperature(list(softmax(logits)[:, None].astype(np.float32)), truth)
    assert found == pytest.approx(temperature, rel=0.05)


def test_no_temperature_is_better_for_several_slices():
    """Against a fine search over what the server computes, in plain words."""
    rng = np.random.default_rng(2)
    recordings = [softmax(rng.normal(0, 3, (rng.integers(1, 6), 5))).astype(np.float32) for _ in range(60)]
    truth = [
        int(rows.mean(axis=0).argmax()) if i % 3 else int(rng.integers(5)) for i, rows in enumerate(recordings)
    ]

    def loss(temperature: float) -> float:
        total = 0.0
        for rows, c in zip(recordings, truth, strict=True):
            powers = rows.astype(np.float64) ** (1 / temperature)
            total -= math.log((powers / powers.sum(axis=1, keepdims=True)).mean(axis=0)[c])
        return total / len(truth)

    found = metrics.fit_temperature(recordings, truth)
    assert loss(found) <= min(loss(t) for t in np.geomspace(0.2, 19, 300)) + 1e-7
    np.testing.assert_allclose(metrics.scaled(recordings[0], 1.0), recordings[0].mean(axis=0), rtol=1e-5)


def test_answers_that_are_all_right_ask_for_the_lowest_temperature():
    rows = [np.array([[0.9, 0.1]], np.float32)] * 20
    assert metrics.fit_temperature(rows, [0] * 20) == pytest.approx(metrics.COOLEST, rel=1e-3)
    assert metrics.fit_temperature(rows, [1] * 20) == pytest.approx(metrics.HOTTEST, rel=1e-3)
    # A probability that float32 has no number for does not break it.
    found = metrics.fit_temperature([np.array([[1, 0]], np.float32)] * 2, [0, 1])
    assert found == pytest.approx(metrics.HOTTEST, rel=1e-3)
