"""Votes and measures of uncertainty against worked examples and scipy."""

import numpy as np
import pytest
import scipy.stats

from answers.calibration import scaled, smoothed
from answers.uncertainty import MEASURES, uncertainty
from answers.voting import VOTING

ROWS = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.45, 0.45], [0.6, 0.3, 0.1]], np.float32)


def test_mean():
    np.testing.assert_allclose(VOTING["mean"](ROWS), [0.375, 0.4375, 0.1875], rtol=1e-6)


def test_majority_is_the_share_of_the_votes():
    np.testing.assert_array_equal(VOTING["majority"](ROWS), [0.5, 0.5, 0.0])


def test_confidence_weighs_by_what_the_entropy_leaves():
    weights = 1 - scipy.stats.entropy(ROWS, axis=1) / np.log(3)
    np.testing.assert_allclose(VOTING["confidence"](ROWS), weights @ ROWS / weights.sum(), rtol=1e-5)
    unsure = np.full((2, 3), 1 / 3, np.float32)
    np.testing.assert_allclose(VOTING["confidence"](unsure), unsure[0], rtol=1e-6)
    certain = np.array([[0, 1, 0], [1 / 3, 1 / 3, 1 / 3]], np.float32)
    np.testing.assert_allclose(VOTING["confidence"](certain), [0, 1, 0], atol=1e-6)


@pytest.mark.parametrize("vote", VOTING.values())
def test_each_vote_gives_float32_that_sums_to_one(vote):
    assert vote(ROWS).dtype == np.float32
    assert vote(ROWS).sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(vote(ROWS[1:2]), vote(np.repeat(ROWS[1:2], 5, axis=0)), rtol=1e-6)


def test_uncertainty():
    measures = uncertainty(np.array([0.2, 0.5, 0.3], np.float32), ROWS, best=1)
    assert tuple(measures) == MEASURES
    expected = [scipy.stats.entropy([0.2, 0.5, 0.3]) / np.log(3), 0.8, 0.5, 0.5]
    assert list(measures.values()) == pytest.approx(expected, rel=1e-5)


def test_uncertainty_goes_from_sure_to_not_at_all():
    sure = np.eye(4, dtype=np.float32)[[2, 2]]
    assert list(uncertainty(sure[0], sure, best=2).values()) == [0, 0, 0, 0]
    even = np.full(4, 0.25, np.float32)
    assert list(uncertainty(even, sure, best=1).values()) == pytest.approx([1, 1, 0.75, 1])


def test_smoothing_spreads_over_the_usable_classes():
    usable = np.array([True, False, True])
    p = smoothed(np.array([0.9, 0.0, 0.1], np.float32), 0.2, usable)
    np.testing.assert_allclose(p, [0.82, 0.0, 0.18], rtol=1e-6)
    assert p.dtype == np.float32


def test_what_is_off_returns_the_very_array():
    assert smoothed(ROWS, 0.0) is ROWS and scaled(ROWS, 1) is ROWS
