"""The project's folder, its released systems, and the configurations in its model repository."""

import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model_repository"
SYSTEMS = ("vgg19_bn_cqt", "vit_b_16_mel")
SPEECH = "emotion2vec_plus_large"
UNASKED = "--probe-seconds=600"
"""For servers whose rows are counted: where nothing comes for two seconds, the supervisor would ask for one."""
once = pytest.mark.parametrize("server", ["onnxruntime"], indirect=True)
"""For what is the same whatever the networks run on."""

written = shutil.ignore_patterns(
    *("*.onnx*", "manifest.json", "labels.txt"),
    "model.plan*",
    "plan.json",
    "model.rtx*",
    "plan.rtx.json",
    "local.pbtxt",
    "__pycache__",
)
"""For `shutil.copytree` of the repository: leaves out what the export and make tune have written there."""


def read_config(path: Path) -> ModelConfig:
    """Parse with the schema of tritonclient 2.51 (24.10): a field newer than that is an error."""
    return text_format.Parse(path.read_text(), ModelConfig())
