"""Networks derived from an exported one (FP16, INT8, explanation, TensorRT plans): the common procedure.

The record of a derived network (systems/repository.py) contains the SHA-256 of the float network that it was made
from. The record is removed before the file is replaced.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from export import inputs
from export.errors import ExportError
from export.files import exclusive, sha256
from export.sources import Log
from systems import System
from systems.files import atomically
from systems.repository import Network, Repository

# Independent classes have no single answer: two networks agree about a row if no probability differs by more than
# this.
NEAR = 0.05

Logits = npt.NDArray[np.float32]
Description = dict[str, Any]


def derive(
    system: System,
    repository: Path,
    kind: str,
    describe: Callable[[Network], Description],
    make: Callable[[Network, Path], Description],
    *,
    force: bool,
    log: Log,
) -> bool:
    """Bring a derived network up to date with the system's float network.

    Parameters
    ----------
    repository : folder of the models
    kind : the product of the network: "fp16", "int8", "explain", "plan", "rtx_plan"
    describe : returns how it is made; if the record of the present one contains all of that, it is up to date
    make : writes the network to a path, compares it with the float network, and returns further entries of its
        record; raises `ExportError` if the network is not accurate enough
    force : rebuild a network that is up to date, too

    Returns
    -------
    False if there was nothing to do

    Raises
    ------
    ExportError
        If there is no float network, or another export is running, and from `describe` and `make`; the present
        network is kept.
    """
    network = Repository(repository).network(system.name)
    with exclusive(network.model):
        if network.onnx.why_not:
            raise ExportError(network.onnx.why_not)
        product, description = getattr(network, kind), describe(network)
        if not force and product.is_current and description.items() <= product.description.items():
            log(f"nothing to do: {product.path} was made from these weights")
            return False
        with atomically(product.path) as partial:
            figures = make(network, partial)
            size = partial.stat().st_size
            product.withdraw()  # the record does not describe the new file
        product.record(
            {
                "file": os.path.relpath(product.path, network.folder),
                "sha256": sha256(product.path),
                "bytes": size,
                "made_from": {key: network.onnx.description[key] for key in ("sha256", "bytes")},
                **description,
                **figures,
            }
        )
    return True


def generated(system: System, first_seed: int, rows: int) -> list[inputs.Feeds]:
    """Return rows of generated sounds in batches: 8 images (of all profiles), or one waveform."""
    if not system.spectrum:
        families = len(system.labels)
        jobs = [(first_seed + row // families, row % families) for row in range(rows)]
        return [inputs.example_row(system, family, seed) for seed, family in jobs]
    from export import demo  # imports PyTorch, which takes seconds

    per_seed = demo.CLASSES * len(system.profiles)
    pictures = demo.rows(system, range(first_seed, first_seed + math.ceil(rows / per_seed)))[0][:rows]
    return [[batch] for batch in batches(pictures, 8)]


def batches(rows: npt.NDArray[Any], size: int) -> Iterator[npt.NDArray[Any]]:
    """Cut rows into batches of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def agreement(expected: Logits, found: Logits, activation: str = "softmax") -> dict[str, float]:
    """Compare the outputs of two networks.

    Parameters
    ----------
    expected, found : float32 [n, classes], logits
    activation : function from logits to probabilities, "softmax" or "sigmoid"

    Returns
    -------
    {"agreement", "max_probability_difference", "mean_...", "median_..."}; the difference of a row is the largest
    over its classes. The agreement is the share of rows with the same label or, after a sigmoid, with every
    probability within `NEAR`
    """
    p, q = (_probabilities(logits, activation) for logits in (expected, found))
    difference = np.abs(q - p).max(1)
    agreed = found.argmax(1) == expected.argmax(1) if activation == "softmax" else difference <= NEAR
    return {
        "agreement": float(agreed.mean()),
        "max_probability_difference": float(difference.max()),
        "mean_probability_difference": float(difference.mean()),
        "median_probability_difference": float(np.median(difference)),
    }


def clear_changes(expected: Logits, found: Logits, tie: float, activation: str = "softmax") -> int:
    """Count the rows whose answer clearly changes.

    These are rows with another label, although `expected` prefers its own by more than a tie; or, after a sigmoid,
    with a probability that differs by more than a tie.

    Parameters
    ----------
    expected, found, activation : as in `agreement`
    tie : difference of the two highest probabilities below which either label may come first
    """
    p, q = (_probabilities(logits, activation) for logits in (expected, found))
    if activation == "sigmoid":
        return int((np.abs(q - p).max(1) > tie).sum())
    margins = np.diff(np.sort(p)[:, -2:]).ravel()
    return int(((found.argmax(1) != expected.argmax(1)) & (margins > tie)).sum())


def same(activation: str) -> str:
    """Return what `agreement` counts, for messages."""
    return "same label" if activation == "softmax" else f"every probability within {NEAR}"


def _probabilities(logits: Logits, activation: str) -> npt.NDArray[np.float64]:
    exact = logits.astype(np.float64)
    return softmax(exact, axis=1) if activation == "softmax" else expit(exact)
