"""The recipe for what is made of an exported network: FP16, INT8, what explains, TensorRT plans.

A derived network belongs to one float network: what vouches for it (systems/repository.py) names the SHA-256 of
what it was made from, and is taken away before the file is replaced.
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
    """Bring what is made of a system's float network up to date with it.

    Parameters
    ----------
    repository : folder of the models
    kind : which product of the network: "fp16", "int8", "explain", "plan"
    describe : the way of making it: where all of that is said of the present one, there is nothing to do
    make : writes it to a path and compares it; what more is to be said of it. Raises `ExportError` where it is not
        good enough
    force : also where nothing has changed

    Returns
    -------
    False where there was nothing to do

    Raises
    ------
    ExportError
        no float network, another export at work, or what `describe` and `make` raise; the present one stays then
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
            product.withdraw()  # it does not describe the file that comes now
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
    """So many rows of generated sounds as batches: pictures of every profile by eights, waveforms one by one."""
    if not system.spectrum:
        families = len(system.labels)
        jobs = [(first_seed + row // families, row % families) for row in range(rows)]
        return [inputs.example_row(system, family, seed) for seed, family in jobs]
    from export import demo  # PyTorch: seconds to import, and not needed before

    per_seed = demo.CLASSES * len(system.profiles)
    pictures = demo.rows(system, range(first_seed, first_seed + math.ceil(rows / per_seed)))[0][:rows]
    return [[batch] for batch in batches(pictures, 8)]


def batches(rows: npt.NDArray[Any], size: int) -> Iterator[npt.NDArray[Any]]:
    """Cut rows into batches of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def agreement(expected: Logits, found: Logits, activation: str = "softmax") -> dict[str, float]:
    """How often two networks agree about a row, and how far their probabilities are apart.

    Parameters
    ----------
    expected, found : float32 [n, classes], logits
    activation : what makes probabilities of them, "softmax" or "sigmoid"

    Returns
    -------
    {"agreement", "max_probability_difference", "mean_...", "median_..."}; a row's difference is that of the class
    where it is largest. The agreement is the share of rows with the same label, or after a sigmoid with every
    probability within `NEAR`
    """
    one, other = (_probabilities(logits, activation) for logits in (expected, found))
    difference = np.abs(other - one).max(1)
    agreed = found.argmax(1) == expected.argmax(1) if activation == "softmax" else difference <= NEAR
    return {
        "agreement": float(agreed.mean()),
        "max_probability_difference": float(difference.max()),
        "mean_probability_difference": float(difference.mean()),
        "median_probability_difference": float(np.median(difference)),
    }


def clear_changes(expected: Logits, found: Logits, tie: float, activation: str = "softmax") -> int:
    """Count the rows whose answer clearly differs.

    The label is another one, although `expected` prefers its own by more than a tie; or, after a sigmoid, a
    probability is further away than that.

    Parameters
    ----------
    expected, found, activation : as for `agreement`
    tie : difference of the two highest probabilities, below which either label may come first
    """
    one, other = (_probabilities(logits, activation) for logits in (expected, found))
    if activation == "sigmoid":
        return int((np.abs(other - one).max(1) > tie).sum())
    margins = np.diff(np.sort(one)[:, -2:]).ravel()
    return int(((found.argmax(1) != expected.argmax(1)) & (margins > tie)).sum())


def same(activation: str) -> str:
    """What `agreement` counts, for people."""
    return "same label" if activation == "softmax" else f"every probability within {NEAR}"


def _probabilities(logits: Logits, activation: str) -> npt.NDArray[np.float64]:
    exact = logits.astype(np.float64)
    return softmax(exact, axis=1) if activation == "softmax" else expit(exact)
