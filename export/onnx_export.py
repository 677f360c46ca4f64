"""Module -> ONNX file with a free batch size, and the proof that ONNX Runtime computes the same.

Batch normalisation is folded into the convolutions by the exporter and not left to the runtimes: every runtime
and every precision then starts from the same final weights. Folding in float64 beforehand was measured to be no
nearer to PyTorch (differences of 1.5e-5 and 1.6e-5 in the logits).
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import nn

from export.errors import ExportError

INPUT, OUTPUT = "ROWS", "LOGITS"
SHAPE = (3, 224, 224)
OPSET = 18
IR_VERSION = 10
"""Newest that ONNX Runtime 1.19 reads, the one in Triton 24.10."""
BATCHES = (1, 3, 8)
MAX_PROBABILITY_DIFFERENCE = 1e-4


def to_onnx(model: nn.Module, path: Path) -> None:
    """Write `model` (float32 [n, 3, 224, 224] -> [n, classes], in eval mode) as one ONNX file, and check it."""
    with _quiet():
        program = torch.onnx.export(
            model,
            (torch.zeros(2, *SHAPE),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    _forget_origin(proto)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString())


def _forget_origin(proto: onnx.ModelProto) -> None:
    """Remove the stack traces that the exporter keeps at every node: they name folders of this machine."""
    graph = proto.graph
    for item in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")


@contextlib.contextmanager
def _quiet():
    """The exporter reports its own internals, which nobody here can act upon."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def logits(model: nn.Module, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What PyTorch computes, float32 [n, classes]."""
    with torch.inference_mode():
        return model(torch.from_numpy(rows)).numpy()


def parity(path: Path, rows: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Compare an ONNX file under ONNX Runtime with what PyTorch computed before the export.

    Parameters
    ----------
    rows : float32 [8, 3, 224, 224], prepared recordings
    expected : float32 [8, classes], their logits

    Returns
    -------
    The entry `parity` of a manifest: runtime, batches and the largest differences

    Raises
    ------
    ExportError
        where a probability differs by more than 1e-4
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logit, probability = 0.0, 0.0
    for batch in BATCHES:
        found = session.run([OUTPUT], {INPUT: rows[:batch]})[0]
        logit = max(logit, float(np.abs(found - expected[:batch]).max()))
        probability = max(probability, float(np.abs(_softmax(found) - _softmax(expected[:batch])).max()))
    if not probability <= MAX_PROBABILITY_DIFFERENCE:
        raise ExportError(
            f"{path.name} differs from PyTorch by {probability:.1e} in probability,"
            f" at most {MAX_PROBABILITY_DIFFERENCE:.0e} is accepted; report this as a defect of the export"
        )
    return {
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "batches": list(BATCHES),
        "max_logit_difference": logit,
        "max_probability_difference": probability,
    }


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
