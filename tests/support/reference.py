"""What PyTorch answers with the demo weights, in float32 and without Triton: the end-to-end tests' reference."""

from functools import lru_cache

import numpy as np
import torch

import systems
from export.checkpoint import load_model
from preprocess import prepare
from tests.support.project import ROOT

TOLERANCE = {"onnxruntime": 1e-4, "openvino": 3e-2}
"""Variant -> how far a probability may lie from it; OpenVINO computes in bfloat16 where the CPU does."""
SPECTRUM = {"vgg19_bn_cqt": "cqt", "vit_b_16_mel": "mel"}


@lru_cache(maxsize=3)
def network(system: str) -> torch.nn.Module:
    """The network of a system, whose demo weights the fixtures `repository` and `speech_repository` have made."""
    declared = systems.SYSTEMS[system]
    path = ROOT / "checkpoints" / "demo" / system / "save.safetensors"
    return load_model(path, declared.architecture, len(declared.labels))


def in_process(system: str, data: bytes, profile: str) -> tuple[np.ndarray, np.ndarray]:
    """Preprocess -> PyTorch fp32 -> softmax -> mean: (probabilities [16], of each slice [n, 16])."""
    rows = torch.from_numpy(prepare(data, profile, spectrum=SPECTRUM[system]).rows)
    with torch.inference_mode():
        slices = torch.softmax(network(system)(rows).double(), -1).numpy()
    return slices.mean(0), slices
