"""Measures the network on this GPU in each form, in a process of its own, for several batch sizes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from answers.activation import ACTIVATIONS
from bench.errors import BenchError
from bench.gpu_check.check import Check, Rows
from bench.gpu_check.forms import forms
from bench.gpu_networks import Contender, Runner
from bench.ideal import load_network
from bench.nvml import memory_mb
from server.variants import PORTABLE
from systems import SYSTEMS

BATCHES = (1, 4, 8, 16, 32)
SECONDS = 0.5  # time of one form with one batch size
LIMIT = 110.0  # seconds after which no further form starts


def networks(check: Check) -> dict[str, Any]:
    """Return form -> ms by batch size, difference from float32 on the CPU, memory; or why it was not measured."""
    start, rows = time.monotonic(), check.rows()
    found: dict[str, Any] = {}
    probabilities = ACTIVATIONS[SYSTEMS[check.system].activation]
    expected = probabilities(load_network(check.network.folder, PORTABLE)(rows))
    for form in forms(check):
        if time.monotonic() - start > LIMIT:
            found[form.name] = "skipped: no time left"
            continue
        try:
            found[form.name] = measure(check, form, rows, expected)
        except BenchError as error:  # the next form may work
            found[form.name] = str(error)
        print(form.name, found[form.name], flush=True)
    return found


def measure(check: Check, form: Contender, rows: Rows, expected: Rows) -> dict[str, Any]:
    """Measure one form.

    Parameters
    ----------
    rows : float32 [n, *row]
    expected : float32 [n, classes], probabilities of the float32 network

    Raises
    ------
    BenchError
        If the form failed.
    """
    batches = check.some(BATCHES)
    before = memory_mb() if check.device == "cuda" else 0.0
    with Runner(form, rows) as runner:
        got = runner.probabilities(max(batches))
        ms = {batch: round(runner.turn(batch, 0.1 if check.brief else SECONDS), 3) for batch in batches}
        found = {
            "ms": ms,
            "same": float((got.argmax(1) == expected.argmax(1)).mean()),
            "difference": round(float(np.abs(got - expected).max()), 5),
        }
        if check.device == "cuda":
            found["gpu_mb"] = round(memory_mb() - before)
    return found
