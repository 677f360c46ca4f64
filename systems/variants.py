"""The variants of a network (runtime and precision), and the names of its files.

Each variant is a configuration beside the portable one; Triton's --model-config-name selects it.
"""

from __future__ import annotations

from dataclasses import dataclass

ONNX_FILE = "model.onnx"
FP16_FILE = "model.fp16.onnx"
INT8_FILE = "model.int8.onnx"
PLAN_FILE = "model.plan"
REPORT_FILE = "plan.json"
RTX_PLAN_FILE = "model.rtx.plan"
RTX_REPORT_FILE = "plan.rtx.json"
# The kernels that TensorRT-RTX compiled for the card that ran the plan.
RTX_CACHE_FILE = "model.rtx.cache"
MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.txt"


@dataclass(frozen=True)
class Variant:
    """A configuration of a network.

    Attributes
    ----------
    name : name of its file, `configs/<name>.pbtxt`; the portable one is in config.pbtxt
    backend, file : Triton backend, and the file beside the manifest that it loads
    about : what runs the network, in what precision and where: a comment of its configuration
    precision : that answers report; None if it depends on the machine or on the plan
    on_gpu : whether it runs on an NVIDIA GPU
    """

    name: str
    backend: str
    file: str
    about: str
    precision: str | None = None
    on_gpu: bool = False


PORTABLE = Variant(
    "onnxruntime",
    "onnxruntime",
    ONNX_FILE,
    "FP32 on ONNX Runtime: runs on every machine. `make export` writes 1/model.onnx, 1/manifest.json and"
    " labels.txt.",
    "float32",
)
OPENVINO = Variant(
    "openvino",
    "openvino",
    ONNX_FILE,
    "on OpenVINO: for CPUs with AMX or AVX512_BF16, where it computes in bfloat16.",
)
OPENVINO_INT8 = Variant(
    "openvino_int8",
    "openvino",
    INT8_FILE,
    "in INT8 on OpenVINO: for CPUs with AVX512_VNNI or AMX. `make int8` writes the network.",
    "int8",
)
CUDA = Variant(
    "cuda",
    "onnxruntime",
    FP16_FILE,
    "FP16 on ONNX Runtime's CUDA provider: for NVIDIA GPUs without a plan. `python -m export fp16` writes the"
    " network.",
    "float16",
    on_gpu=True,
)
TENSORRT = Variant(
    "tensorrt", "tensorrt", PLAN_FILE, "as a TensorRT plan: for machines with an NVIDIA GPU.", on_gpu=True
)
TENSORRT_RTX = Variant(
    "tensorrt_rtx",
    "tensorrt_rtx",
    RTX_PLAN_FILE,
    "as a TensorRT-RTX plan, in the embedded server: for NVIDIA's RTX cards. It is built without a GPU; the card"
    " that loads it completes the compilation.",
    on_gpu=True,
)

VARIANTS = {variant.name: variant for variant in (PORTABLE, OPENVINO, OPENVINO_INT8, CUDA, TENSORRT, TENSORRT_RTX)}
# Compute capabilities that NVIDIA lists for TensorRT-RTX. A plan is built for the first, or for all of the others.
RTX_TURING, RTX_LATER = ("7.5",), ("8.6", "8.9", "12.0", "12.1")
