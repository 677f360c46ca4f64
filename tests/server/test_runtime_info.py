"""What the answers say of where and how they were computed."""

import json

import pytest

from server.gpu import Gpu
from server.runtime_info import runtime_info
from server.variants import Machine
from systems.repository import Repository

GPU = Gpu("NVIDIA H200", "9.0", 144 << 30, "580.65.06")
PLAIN, FAST = Machine(frozenset(), openvino=True), Machine(frozenset({"avx512_bf16"}), openvino=True)
WITH_GPU = Machine(frozenset({"amx_bf16"}), openvino=True, gpu=GPU)


@pytest.fixture
def repository(tmp_path):
    """Two systems: one of every variant, its plan in INT8, and one of ONNX Runtime and OpenVINO only."""
    files = {
        "openvino": "model.onnx",
        "openvino_int8": "model.int8.onnx",
        "cuda": "model.fp16.onnx",
        "tensorrt": "model.plan",
        "tensorrt_rtx": "model.rtx.plan",
    }
    for system, variants in (("every", files), ("few", {"openvino": "model.onnx", "openvino_int8": "model.onnx"})):
        configs = tmp_path / f"{system}_network" / "configs"
        configs.mkdir(parents=True)
        for variant, file in variants.items():
            (configs / f"{variant}.pbtxt").write_text(f'default_model_filename: "{file}"')
    (tmp_path / "every_network/1").mkdir()
    (tmp_path / "every_network/1/plan.json").write_text('{"precision": "int8"}')
    (tmp_path / "every_network/1/plan.rtx.json").write_text('{"precision": "fp16"}')
    return tmp_path


@pytest.mark.parametrize(
    ("variant", "machine", "every", "few"),
    [
        ("onnxruntime", FAST, "CPU float32 onnxruntime", "CPU float32 onnxruntime"),
        ("onnxruntime", WITH_GPU, "CPU float32 onnxruntime", "CPU float32 onnxruntime"),
        ("openvino", FAST, "CPU bfloat16 openvino", "CPU bfloat16 openvino"),
        ("openvino", PLAIN, "CPU float32 openvino", "CPU float32 openvino"),
        ("openvino_int8", FAST, "CPU int8 openvino", "CPU bfloat16 openvino"),
        ("cuda", WITH_GPU, "NVIDIA H200 float16 onnxruntime", "CPU float32 onnxruntime"),
        ("tensorrt", WITH_GPU, "NVIDIA H200 int8 tensorrt", "CPU float32 onnxruntime"),
        ("tensorrt_rtx", WITH_GPU, "NVIDIA H200 float16 tensorrt_rtx", "CPU float32 onnxruntime"),
    ],
)
def test_where_and_how_each_system_computes(repository, variant, machine, every, few):
    told = json.loads(runtime_info(variant, machine, Repository(repository), ["every", "few"]))
    said = {name: f"{c['device']} {c['precision']} {c['backend']}" for name, c in told.items()}
    assert said == {"every": every, "few": few}
