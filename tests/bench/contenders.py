"""Networks for tests/bench/test_gpu.py, made in processes of their own; without PyTorch, slow to import there."""

import os
import time

import numpy as np
from scipy.special import softmax

from tests.bench.clock import Clock


def tiny(seed: int):
    weights = np.random.default_rng(seed).standard_normal((3 * 8 * 8, 5), np.float32) / 4
    return lambda rows: softmax(rows.reshape(len(rows), -1) @ weights, axis=1)


def fast():
    """One second a row by its clock."""
    return timed(tiny(0), 1)


def slow():
    """Ten seconds a row by its clock, and another network."""
    return timed(tiny(1), 10)


def timed(network, seconds: float):
    clock = time.perf_counter = Clock()

    def run(rows):
        clock.tell(seconds * len(rows))
        return network(rows)

    return run


def failing():
    raise RuntimeError("CUDA error: no kernel image\nCompile with ...")


def ending():
    os._exit(3)
