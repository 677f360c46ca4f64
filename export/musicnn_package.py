"""musicnn's checkpoints -> ONNX without PyTorch: the tensors of the package musicnn, and the network around them.

`export.musicnn` holds the same network as a PyTorch module, for checkpoints of one's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.onnx_export import IR_VERSION, OPSET, Graph
from export.tensorflow import read_bundle

State = Mapping[str, npt.NDArray[Any]]

# Epsilon of the batch normalisations: TensorFlow's default.
EPSILON = 1e-3
# Heights of the timbral filters in bands: 0.4 and 0.7 of 96.
TIMBRAL = (38, 67)
# Widths of the temporal filters in frames; they are one band high.
TEMPORAL = (128, 64, 32)
# Width of the timbral filters and of the dense layers' filters in frames.
FRAMES = 7
# The convolutions in TensorFlow's numbering. The batch normalisations have one more, before these.
PLACES = (
    *(f"timbral.{n}" for n in range(len(TIMBRAL))),
    *(f"temporal.{n}" for n in range(len(TEMPORAL))),
    *(f"dense.{n}" for n in range(3)),
)
# TensorFlow's names of a batch normalisation's tensors -> PyTorch's.
VALUES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def read(folder: Path) -> State:
    """The state dict of a checkpoint of the package musicnn."""
    return from_tensorflow(read_bundle(folder))


def from_tensorflow(tensors: State) -> State:
    """The state dict of what musicnn's checkpoints hold; their optimiser's tensors are left out.

    Raises
    ------
    KeyError
        a tensor is missing; the message is its name
    """
    state = {}
    for n, place in enumerate(PLACES):
        kernel = tensors[f"conv2d{f'_{n}' if n else ''}/kernel"]  # [frames, bands, 1, filters]
        weight = kernel.transpose(3, 2, 1, 0)
        state[f"{place}.convolution.weight"] = weight if place[0] == "t" else weight[:, 0]
        state[f"{place}.convolution.bias"] = tensors[f"conv2d{f'_{n}' if n else ''}/bias"]
    for name, place in {"dense": "penultimate.convolution", "dense_1": "tags"}.items():
        state[f"{place}.weight"], state[f"{place}.bias"] = tensors[f"{name}/kernel"].T, tensors[f"{name}/bias"]
    normalised = ("", *(f"{place}." for place in PLACES), "pooled", "penultimate.")
    for n, place in enumerate(normalised):
        target = place if place == "pooled" else f"{place}normalisation"
        for theirs, ours in VALUES.items():
            state[f"{target}.{ours}"] = tensors[f"batch_normalization{f'_{n}' if n else ''}/{theirs}"]
        state[f"{target}.num_batches_tracked"] = np.zeros((), np.int64)
    return {name: np.array(values, order="C") for name, values in state.items()}


def build(state: State, sides: Graph) -> onnx.ModelProto:
    """The network of a state dict: ROWS float32 [batch, 1, bands, frames] -> EMBEDDING and LOGITS.

    Its nodes are those that PyTorch's exporter writes for `export.musicnn.MusiCNN`, but for the pooling over time.

    Parameters
    ----------
    sides : names and sizes of what it takes and gives
    """
    graph = _Graph(state)
    rows = graph.normalised("normalisation", "ROWS")
    front = [graph.layer(f"timbral.{n}", rows, [0, FRAMES // 2] * 2) for n in range(len(TIMBRAL))]
    for n, length in enumerate(TEMPORAL):  # an even filter has its centre on the left
        front.append(graph.layer(f"temporal.{n}", rows, [0, (length - 1) // 2, 0, length // 2]))
    features = [graph.add("Concat", *(graph.pooled("Max", values, keepdims=0) for values in front), axis=1)]
    for n in range(3):
        values = graph.layer(f"dense.{n}", features[-1], [FRAMES // 2] * 2)
        features.append(graph.add("Add", values, features[-1]) if n else values)
    joined = graph.add("Concat", *features, axis=1)
    pooled = graph.add("Concat", *(graph.pooled(kind, joined, keepdims=1) for kind in ("Max", "Mean")), axis=2)
    values = graph.normalised("pooled", graph.add("Flatten", pooled, axis=1))
    values = graph.add("Relu", graph.dense("penultimate.convolution", values))
    graph.dense("tags", graph.normalised("penultimate.normalisation", values, "EMBEDDING"), "LOGITS")
    return graph.model(sides)


class _Graph:
    """An ONNX graph that grows node by node; the methods that add nodes return the name of the last output."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: dict[str, onnx.TensorProto] = {}

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Any node."""
        output = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def layer(self, place: str, source: str, pads: list[int]) -> str:
        """Convolution, ReLU, batch normalisation: [n, channels, ...] -> [n, filters, ...]."""
        weights = self._weights(f"{place}.convolution")
        kernel = self._state[weights[0]].shape[2:]
        values = self.add("Conv", source, *weights, pads=pads, kernel_shape=kernel)
        return self.normalised(f"{place}.normalisation", self.add("Relu", values))

    def normalised(self, place: str, source: str, output: str = "") -> str:
        """Batch normalisation."""
        weights = self._weights(place, *VALUES.values())
        return self.add("BatchNormalization", source, *weights, output=output, epsilon=EPSILON)

    def dense(self, place: str, source: str, output: str = "") -> str:
        """A linear layer: [n, values] -> [n, units]."""
        return self.add("Gemm", source, *self._weights(place), output=output, transB=1)

    def pooled(self, kind: str, source: str, keepdims: int) -> str:
        """Max or Mean over axis 2: bands of [n, filters, bands, frames], frames of [n, filters, frames]."""
        return self.add(f"Reduce{kind}", source, self._constant("axes", np.array([2])), keepdims=keepdims)

    def model(self, sides: Graph) -> onnx.ModelProto:
        """The finished network, checked."""
        inputs, outputs = (
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
                for name, shape in side.items()
            ]
            for side in (sides.inputs, sides.outputs)
        )
        graph = helper.make_graph(self._nodes, "musicnn", inputs, outputs, list(self._initialisers.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="tritone")
        onnx.checker.check_model(proto, full_check=True)
        return proto

    def _weights(self, place: str, *names: str) -> list[str]:
        return [
            self._constant(name, self._state[name])
            for name in (f"{place}.{n}" for n in names or ("weight", "bias"))
        ]

    def _constant(self, name: str, values: npt.NDArray[Any]) -> str:
        self._initialisers[name] = numpy_helper.from_array(values, name)
        return name
