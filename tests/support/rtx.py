"""NVIDIA's real builder, that of TensorRT-RTX: it needs no GPU, and shows what it was given when it builds."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import onnx
import pytest
from onnx import TensorProto

TYPES = {
    TensorProto.FLOAT16: "HALF",
    TensorProto.FLOAT: "FLOAT",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
}
"""ONNX's number of a type -> NVIDIA's name of it."""
Tensor = tuple[str, list[int]]
"""Type and dimensions; -1 for any."""


@dataclass
class Given:
    """What a builder was given to build.

    Attributes
    ----------
    inputs, outputs : by name
    types : of all that layers put out, by name
    profile : least, best and largest shape of each input, of every optimization profile
    capabilities : names of the GPUs' architectures
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    types: dict[str, str]
    profiles: list[dict[str, list[list[int]]]]
    capabilities: list[str]


def real() -> ModuleType:
    """TensorRT-RTX, or skip: there are no wheels of it but for Linux on x86-64."""
    return pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: make .venv/.test")


def watch(trt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Given]:
    """Have the module's builder note what it is given; it builds all the same."""
    seen: list[Given] = []

    class Watched(trt.Builder):
        def create_optimization_profile(self) -> Any:
            profile = super().create_optimization_profile()
            self.profiles = [*getattr(self, "profiles", []), profile]
            return profile

        def build_serialized_network(self, network: Any, config: Any) -> Any:
            seen.append(_given(network, config, self.profiles))
            return super().build_serialized_network(network, config)

    monkeypatch.setattr(trt, "Builder", Watched)
    return seen


def types_of(proto: onnx.ModelProto) -> dict[str, str]:
    """The type of all that the nodes of a graph put out, by name, as ONNX infers it."""
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    values = (*inferred.graph.value_info, *inferred.graph.output)
    made = {name for node in proto.graph.node for name in node.output if name}
    return {value.name: TYPES[value.type.tensor_type.elem_type] for value in values if value.name in made}


def _given(network: Any, config: Any, profiles: list[Any]) -> Given:
    layers = _all(network.num_layers, network.get_layer)
    inputs = _all(network.num_inputs, network.get_input)
    outputs = _all(network.num_outputs, network.get_output)
    assert config.num_optimization_profiles == len(profiles)
    return Given(
        inputs={tensor.name: _tensor(tensor) for tensor in inputs},
        outputs={tensor.name: _tensor(tensor) for tensor in outputs},
        types={
            tensor.name: tensor.dtype.name
            for layer in layers
            for tensor in _all(layer.num_outputs, layer.get_output)
        },
        profiles=[
            {tensor.name: [list(shape) for shape in profile.get_shape(tensor.name)] for tensor in inputs}
            for profile in profiles
        ],
        capabilities=[config.get_compute_capability(i).name for i in range(config.num_compute_capabilities)],
    )


def _all(count: int, get: Callable[[int], Any]) -> list[Any]:
    return [get(index) for index in range(count)]


def _tensor(tensor: Any) -> Tensor:
    return tensor.dtype.name, list(tensor.shape)
