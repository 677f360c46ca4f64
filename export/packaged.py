"""Weights of a package -> ONNX, compared with the answers of the package's own code: without PyTorch.

`make demo` therefore installs no PyTorch. Weights from elsewhere are exported by PyTorch (`export.repository`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

import preprocess
from answers.activation import ACTIVATIONS
from export.errors import ExportError
from export.files import load
from export.onnx_export import MAX_PROBABILITY_DIFFERENCE, graph_of
from export.sources import Log, Weights
from systems import System
from systems.system import Package


def write(system: System, weights: Weights, path: Path, log: Log) -> dict[str, Any]:
    """Write the network of a system to `path`, and compare it with the package's answers.

    Returns
    -------
    The entry `parity` of a manifest

    Raises
    ------
    ExportError
        If a probability differs by more than 1e-4.
    """
    package = package_of(system)
    network = load(package.builder)(load_file(weights.path), graph_of(system))
    path.write_bytes(network.SerializeToString())
    log(f"comparing ONNX Runtime with {package.name}'s own answers")
    return compare(system, path)


def compare(system: System, path: Path) -> dict[str, Any]:
    """Compare an ONNX file under ONNX Runtime with the package's own answers; see `write`."""
    package = package_of(system)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batches, largest = [], 0.0
    for recording, expected in load(package.answers)(system.name):
        rows = preprocess.prepare(recording, system.profile, spectrum=system.spectrum).rows
        [logits] = session.run(["LOGITS"], {"ROWS": rows})
        batches.append(len(rows))
        largest = max(largest, float(np.abs(ACTIVATIONS[system.activation](logits) - expected).max()))
    if not largest <= MAX_PROBABILITY_DIFFERENCE:
        raise ExportError(
            f"{path.name} differs from the package {package.name} by {largest:.1e} in probability,"
            f" at most {MAX_PROBABILITY_DIFFERENCE:.0e} is accepted; report this as a bug in the export"
        )
    return {
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "batches": batches,
        "max_probability_difference": largest,
    }


def package_of(system: System) -> Package:
    """Return the package with the weights of a system that is released in one."""
    assert isinstance(system.released, Package), f"{system.name} is not released in a package"
    return system.released
