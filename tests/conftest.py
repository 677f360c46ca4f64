"""What several folders of tests share: the model repository with demo weights, and servers on it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.embedded import Embedded, embedded

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ("vgg19_bn_cqt", "vit_b_16_mel")


SPEECH = "emotion2vec_plus_large"
UNASKED = "--probe-seconds=600"
"""For servers whose rows are counted: where nothing comes for two seconds, the supervisor would ask for one."""


@pytest.fixture(scope="session")
def repository() -> Path:
    """The model repository with demo weights of the genre systems, exported by the command a user calls.

    It lies in .cache/ so that nobody's own weights are touched, and is kept: a second run exports nothing.
    """
    return exported("model_repository", SYSTEMS)


@pytest.fixture(scope="session")
def speech_repository() -> Path:
    """Likewise, with the speech system."""
    return exported("speech_repository", (SPEECH,))


def exported(name: str, systems: tuple[str, ...]) -> Path:
    target = ROOT / ".cache" / "tests" / name
    # Not copied: weights and manifests, which the export writes, and what make tune has written.
    written = shutil.ignore_patterns(
        *("*.onnx", "manifest.json", "labels.txt"), "model.plan*", "plan.json", "local.pbtxt", "__pycache__"
    )
    shutil.copytree(ROOT / "model_repository", target, ignore=written, dirs_exist_ok=True)
    command = [sys.executable, "-m", "export", "--demo", f"--repository={target}", *systems]
    subprocess.run(command, cwd=ROOT, check=True)
    return target


@pytest.fixture(scope="session", params=["onnxruntime", "openvino"])
def server(request, repository, tmp_path_factory) -> Iterator[Embedded]:
    """The embedded server with both genre systems, one variant after the other."""
    log = tmp_path_factory.mktemp("server") / f"{request.param}.log"
    with embedded(f"--model-repository={repository}", f"--variant={request.param}", UNASKED, log=log) as running:
        assert running.variant == request.param
        yield running
