"""Probabilities against PyTorch."""

import numpy as np
import pytest
import torch

from answers.activation import ACTIVATIONS, of_manifest, sigmoid, softmax
from systems import system

LOGITS = np.random.default_rng(0).normal(0, 30, (5, 16)).astype(np.float32)
HUGE = np.array([[1e4, 0, -1e4]], np.float32)


def test_softmax_equals_pytorch():
    expected = torch.softmax(torch.from_numpy(LOGITS).double(), -1).numpy()
    np.testing.assert_allclose(softmax(LOGITS), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(softmax(HUGE), [[1, 0, 0]])


def test_sigmoid_equals_pytorch():
    expected = torch.sigmoid(torch.from_numpy(LOGITS).double()).numpy()
    np.testing.assert_allclose(sigmoid(LOGITS), expected, rtol=1e-6, atol=0)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(sigmoid(HUGE), [[1, 0.5, 0]])


@pytest.mark.parametrize("activation", [softmax, sigmoid])
def test_both_keep_shape_and_type(activation):
    assert activation(LOGITS[0]).shape == (16,) and activation(LOGITS.astype(np.float64)).dtype == np.float32


def test_a_manifest_names_one_that_there_is():
    assert tuple(ACTIVATIONS) == system.ACTIVATIONS
    assert of_manifest({}) is softmax and of_manifest({"activation": "sigmoid"}) is sigmoid
