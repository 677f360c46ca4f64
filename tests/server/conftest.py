"""Launchers for tests, ended after them."""

import importlib.util
import json
import signal
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import tiny
from tests.support.backends import BACKENDS, CONFIG, Response, Tensor, TritonError, logged
from tests.support.launcher import Launcher


@pytest.fixture
def tiny_repository(tmp_path) -> Path:
    return tiny.write_repository(tmp_path / "models")


@pytest.fixture
def launch(tmp_path, tiny_repository) -> Iterator[Callable[..., Launcher]]:
    """Starts launchers and ends them after the test."""
    started: list[Launcher] = []

    def start(*flags: str, **options: tuple[str, ...]) -> Launcher:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Launcher(folder, tiny_repository, "--variant=onnxruntime", *flags, **options))
        return started[-1]

    yield start
    for launcher in started:
        launcher.stop(signal.SIGINT, signal.SIGTERM)


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def running(request, tmp_path_factory) -> Iterator[Launcher]:
    """One launcher for the tests that leave it whole, with either backend."""
    folder = tmp_path_factory.mktemp(request.param)
    launcher = Launcher(folder, tiny.write_repository(folder / "models"), f"--variant={request.param}")
    yield launcher.until_ready()
    launcher.stop(signal.SIGINT, signal.SIGTERM)


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request, monkeypatch, tmp_path):
    """Loads a backend outside Triton; returns a function config -> initialised model."""
    utils = types.ModuleType("triton_python_backend_utils")
    utils.TritonModelException = RuntimeError
    utils.TritonError = TritonError
    utils.InferenceResponse = Response
    utils.Logger = types.SimpleNamespace(log_error=logged.append)
    utils.Tensor = Tensor
    utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
    utils.get_model_dir = lambda: str(tmp_path)
    utils.get_input_tensor_by_name = lambda request, name: request.rows
    utils.triton_string_to_numpy = {"TYPE_FP32": np.float32, "TYPE_INT32": np.int32}.get
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    for name in ("rows", "scheduler", "planned"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(BACKENDS))
    spec = importlib.util.spec_from_file_location("backend_model", BACKENDS / request.param / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pending = sys.modules["scheduler"].PendingResponses(tmp_path / "region.pending")
    monkeypatch.setattr(sys.modules["rows"], "PendingResponses", lambda: pending)
    tiny.write_network(tmp_path / "model.onnx")
    models = []

    def load(kind="CPU", **changes):
        model = module.TritonPythonModel()
        instance = {"model_instance_kind": kind, "model_instance_device_id": "1" if kind == "GPU" else "0"}
        model.initialize(instance | {"model_config": json.dumps(CONFIG | changes)})
        models.append(model)
        return model

    yield load
    for model in models:
        sys.modules["rows"].NetworkBackend.finalize(model)
    for name in ("rows", "scheduler", "planned"):
        sys.modules.pop(name, None)
