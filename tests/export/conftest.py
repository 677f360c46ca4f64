"""Networks and fakes that several tests of the export use."""

import pytest
import torch

from export import fp16, inputs, tensorrt
from tests.support import fakes
from tests.support.checkpoints import random_state, vgg_shapes
from tests.support.plans import GPU, prepared, write_repository


@pytest.fixture(scope="session")
def small_vgg() -> dict[str, torch.Tensor]:
    """A VGG19_BN whose head is small; the tensors are not to be changed in place."""
    return random_state(vgg_shapes(5, 4, 3, 16))


@pytest.fixture
def trt(monkeypatch):
    module, module.cuda, module.rtx = fakes.install(monkeypatch)
    return module


@pytest.fixture
def place(monkeypatch, tmp_path, trt):
    """A repository and a folder for timings, on a machine with a GPU."""
    monkeypatch.setattr(tensorrt, "find_gpu", lambda: GPU)
    monkeypatch.setattr(fp16, "export", lambda *_, **__: False)
    monkeypatch.setattr(inputs, "example_row", lambda system, *which: prepared(system.name, *which))
    return write_repository(tmp_path)
