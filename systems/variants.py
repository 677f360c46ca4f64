"""How a network can run, and what its files are called.

Each variant is a configuration beside the portable one, chosen by Triton's own flag.
"""

from __future__ import annotations

from dataclasses import dataclass

ONNX_FILE = "model.onnx"
FP16_FILE = "model.fp16.onnx"
INT8_FILE = "model.int8.onnx"
PLAN_FILE = "model.plan"
REPORT_FILE = "plan.json"
MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.txt"


@dataclass(frozen=True)
class Variant:
    """A configuration of a network.

    Attributes
    ----------
    name : of its file, `configs/<name>.pbtxt`; that of the portable one is config.pbtxt
    backend, file : what runs, and from which file beside the manifest
    on_gpu : whether it runs on an NVIDIA GPU
    """

    name: str
    backend: str
    file: str
    on_gpu: bool = False


PORTABLE = Variant("onnxruntime", "onnxruntime", ONNX_FILE)
OPENVINO = Variant("openvino", "openvino", ONNX_FILE)
OPENVINO_INT8 = Variant("openvino_int8", "openvino", INT8_FILE)
CUDA = Variant("cuda", "onnxruntime", FP16_FILE, on_gpu=True)
TENSORRT = Variant("tensorrt", "tensorrt", PLAN_FILE, on_gpu=True)

VARIANTS = {variant.name: variant for variant in (PORTABLE, OPENVINO, OPENVINO_INT8, CUDA, TENSORRT)}
