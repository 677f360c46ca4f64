"""NVIDIA's real parser and builder on the networks that the export makes: types, bindings, shapes, GPUs.

They are those of TensorRT-RTX, which build without a GPU. That of TensorRT shares parser and interface with them;
it only builds where its GPU is (tests/export/test_tensorrt_gpu.py).
"""

from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from export import engine, int8, onnx_export, onnx_float16
from export.checkpoint import build
from export.errors import ExportError
from export.musicnn import MusiCNN
from export.tensorrt_rtx import for_rtx
from systems import SYSTEMS
from systems.architectures import VGG19_BN
from tests.support.project import REPOSITORY, SPEECH
from tests.support.project import SYSTEMS as GENRES
from tests.support.rtx import Given, real, types_of, watch

trt = real()
CAPABILITIES = ("7.5", "8.6", "8.9", "12.0", "12.1")
TRITON = {DataType.TYPE_FP32: "FLOAT", DataType.TYPE_INT64: "INT64"}


@pytest.fixture
def built(monkeypatch, tmp_path):
    """Builds a network for GPUs of some compute capabilities; the plan, and what the builder was given."""
    seen = watch(trt, monkeypatch)

    def built(onnx: Path, system: str, *capabilities: str) -> tuple[bytes, Given]:
        profile = engine.read_profile(configuration(system))
        plan = engine.build(trt, onnx, profile, for_rtx(capabilities), tmp_path / "log")
        return plan, seen[-1]

    return built


def configuration(system: str) -> Path:
    return REPOSITORY / f"{system}_network" / "configs" / "tensorrt.pbtxt"


def half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The FP16 network, as if no activation were too large."""
    proto = onnx.shape_inference.infer_shapes(proto)
    return onnx_float16.convert(proto, onnx_float16.float16_nodes(proto, {}))


def quantised(path: Path) -> bytes:
    """The INT8 network of pictures, with scales of two rows of noise."""
    rows = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    return int8.quantise(path, int8.limits(path, rows))


@pytest.fixture(scope="module")
def networks(tmp_path_factory, small_vgg) -> dict[str, Path]:
    """FP16 networks of musicnn and of VGG19_BN with a small head, and the latter in INT8; weights are random."""
    folder = tmp_path_factory.mktemp("networks")
    modules = {
        "musicnn_msd": MusiCNN(204, 51, 64, 200, 50).eval().requires_grad_(False),
        "vgg19_bn_cqt": build(small_vgg, VGG19_BN, 16),
    }
    made = {}
    for name, module in modules.items():
        path, made[name] = folder / f"{name}.onnx", folder / f"{name}.fp16.onnx"
        onnx_export.to_onnx(module, onnx_export.graph_of(SYSTEMS[name]), path)
        onnx.save(half(onnx.load(path)), made[name])
    made["int8"] = folder / "int8.onnx"
    made["int8"].write_bytes(quantised(folder / "vgg19_bn_cqt.onnx"))
    return made


def check(given: Given, network: Path, system: str) -> None:
    """Types are those that ONNX infers, layer by layer; bindings and shapes those of the configuration."""
    proto, config = onnx.load(network), text_format.Parse(configuration(system).read_text(), ModelConfig())
    expected = types_of(proto)
    assert len(expected) >= len(proto.graph.node)  # none is left out
    assert {name: given.types.get(name) for name in expected} == expected

    def declared(tensors):
        return {tensor.name: (TRITON[tensor.data_type], [-1, *tensor.dims]) for tensor in tensors}

    assert given.inputs == declared(config.input)
    assert given.outputs == declared(config.output)
    [profile] = given.profiles
    for name, (least, best, largest) in profile.items():
        batches = (1, max(config.dynamic_batching.preferred_batch_size), config.max_batch_size)
        assert (least[0], best[0], largest[0]) == batches
        for warmup in config.model_warmup:
            dims = list(warmup.inputs[name].dims)
            assert all(low <= size <= high for low, size, high in zip(least[1:], dims, largest[1:], strict=True))


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("system", ["musicnn_msd", "vgg19_bn_cqt"])
def test_fp16_networks_are_built_in_the_types_of_their_graphs(built, networks, system, capability):
    plan, given = built(networks[system], system, capability)
    check(given, networks[system], system)
    assert given.capabilities == [f"SM{capability.replace('.', '')}"]
    weights = onnx.load(networks[system]).graph.initializer
    size = 2 * sum(np.prod(tensor.dims) for tensor in weights if tensor.data_type == TensorProto.FLOAT16)
    assert size < len(plan) < size + 5e6
    counted = list(given.types.values())
    assert counted.count("HALF") > 40 and counted.count("FLOAT") <= 3


def test_the_int8_network_is_built_with_its_convolutions_in_int8(built, networks):
    plan, given = built(networks["int8"], "vgg19_bn_cqt", "8.9")
    check(given, networks["int8"], "vgg19_bn_cqt")
    assert list(given.types.values()).count("INT8") == 40  # what 20 layers take in, and their weights
    assert len(plan) < 0.7 * networks["vgg19_bn_cqt"].stat().st_size


def test_a_product_in_float32_is_refused_for_turing_with_the_reason(built, networks):
    with pytest.raises(ExportError, match=r"^TensorRT-RTX [\d.]+ could not build .*Turing \(SM75\): FP32 GEMM"):
        built(networks["int8"], "vgg19_bn_cqt", "7.5")


@pytest.fixture
def released(request, tmp_path):
    """A network of the released size, as the commands make it but for the measured scales."""

    def released(system: str, precision: str) -> Path:
        repository = request.getfixturevalue("repository" if system in GENRES else "speech_repository")
        source, path = repository / f"{system}_network" / "1" / "model.onnx", tmp_path / f"{precision}.onnx"
        if precision == "int8":
            path.write_bytes(quantised(source))
        else:
            onnx.save(half(onnx.load(source)), path)
        return path

    return released


@pytest.mark.slow
@pytest.mark.parametrize("system", [*GENRES, SPEECH])
def test_fp16_networks_of_the_released_size(built, released, system):
    network = released(system, "fp16")
    for capability in CAPABILITIES:
        if capability == "7.5" and system != "vgg19_bn_cqt":  # its head is float32, behind a norm
            with pytest.raises(ExportError, match=r"Turing \(SM75\)"):
                built(network, system, capability)
            continue
        plan, given = built(network, system, capability)
        check(given, network, system)
        assert len(plan) < 1.1 * network.stat().st_size


@pytest.mark.slow
def test_the_int8_network_of_the_released_size(built, released):
    network = released("vgg19_bn_cqt", "int8")
    for capability in CAPABILITIES[1:]:
        plan, given = built(network, "vgg19_bn_cqt", capability)
        check(given, network, "vgg19_bn_cqt")
        assert len(plan) < 1.1 * network.stat().st_size
