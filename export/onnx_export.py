"""Module -> ONNX file with a free batch size, and a comparison of ONNX Runtime with PyTorch.

The exporter folds batch normalisation into the convolutions, so that every runtime and every precision starts from
the same final weights. Folding in float64 beforehand is not closer to PyTorch (differences of 1.5e-5 and 1.6e-5 in
the logits).
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from answers.activation import ACTIVATIONS
from export.errors import ExportError
from systems import System

if TYPE_CHECKING:  # the networks of a package are written without PyTorch
    import torch
    from torch import nn

OPSET = 18
# The newest that ONNX Runtime 1.19, the one in Triton 24.10, reads.
IR_VERSION = 10
BATCHES = (1, 3, 8)
MAX_PROBABILITY_DIFFERENCE = 1e-4

Feeds = list[npt.NDArray[Any]]  # one array per input, the rows along the first axis


@dataclass(frozen=True)
class Graph:
    """Inputs and outputs of a network.

    Attributes
    ----------
    inputs : name -> sizes of the axes after the batch; a string names a free axis
    outputs : the same for the outputs
    """

    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]

    def example(self) -> tuple[torch.Tensor, ...]:
        """Arguments to trace with, two rows: pictures, or waveforms of two lengths."""
        import torch

        first, *lengths = self.inputs.values()
        if not lengths:
            return (torch.zeros(2, *first),)
        return torch.zeros(2, 16000), torch.tensor([[16000], [9000]])


def graph_of(system: System) -> Graph:
    """Return the inputs and outputs of a system's network."""
    sides = system.own(system.task.inputs), system.own(system.task.outputs)
    return Graph(*({tensor.name: system.dims(tensor) for tensor in side} for side in sides))


def to_onnx(model: nn.Module, graph: Graph, path: Path) -> None:
    """Write `model` (in eval mode) as one ONNX file, and check it."""
    import torch

    free = torch.export.Dim.DYNAMIC  # a named Dim first gets constraints that slices by half its size violate
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model,
            graph.example(),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=tuple(
                {0: free} | {axis: free for axis, size in enumerate(shape, 1) if isinstance(size, str)}
                for shape in graph.inputs.values()
            ),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    _forget_origin(proto)
    _name_axes(proto.graph.input, graph.inputs)
    _name_axes(proto.graph.output, graph.outputs)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString())


def _name_axes(tensors: Sequence[onnx.ValueInfoProto], shapes: dict[str, tuple[int | str, ...]]) -> None:
    """Give the free axes the names of the `Graph`; the exporter's are s22 and expressions of it."""
    for tensor, shape in zip(tensors, shapes.values(), strict=True):
        for dim, size in zip(tensor.type.tensor_type.shape.dim, ("batch", *shape), strict=True):
            if dim.dim_param:
                dim.dim_param = str(size)


def _forget_origin(proto: onnx.ModelProto) -> None:
    """Remove the stack traces that the exporter stores at every node: they name folders of this machine."""
    graph = proto.graph
    for item in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's reports about its internals, which users cannot act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def logits(model: nn.Module, feeds: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Compute the logits with PyTorch, float32 [n, classes]: the last output, or the only one."""
    import torch

    with torch.inference_mode():
        outputs = model(*(torch.from_numpy(x) for x in feeds))
    return (outputs[-1] if isinstance(outputs, tuple) else outputs).numpy()


def parity(
    path: Path, graph: Graph, feeds: Feeds, expected: npt.NDArray[np.float32], activation: str = "softmax"
) -> dict[str, Any]:
    """Compare an ONNX file in ONNX Runtime with the logits that PyTorch computed before the export.

    Parameters
    ----------
    feeds : inputs of eight prepared recordings
    expected : float32 [8, classes], their logits
    activation : function from logits to probabilities

    Returns
    -------
    The entry `parity` of a manifest: runtime, batches and the largest differences

    Raises
    ------
    ExportError
        If a probability differs by more than 1e-4.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    probabilities, logit, probability = ACTIVATIONS[activation], 0.0, 0.0
    for batch in BATCHES:
        inputs = {name: x[:batch] for name, x in zip(graph.inputs, feeds, strict=True)}
        found = session.run(["LOGITS"], inputs)[0]
        logit = max(logit, float(np.abs(found - expected[:batch]).max()))
        probability = max(probability, float(np.abs(probabilities(found) - probabilities(expected[:batch])).max()))
    if not probability <= MAX_PROBABILITY_DIFFERENCE:
        raise ExportError(
            f"{path.name} differs from PyTorch by {probability:.1e} in probability,"
            f" at most {MAX_PROBABILITY_DIFFERENCE:.0e} is accepted; report this as a bug in the export"
        )
    return {
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "batches": list(BATCHES),
        "max_logit_difference": logit,
        "max_probability_difference": probability,
    }
