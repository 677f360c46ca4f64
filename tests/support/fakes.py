"""Lets tests import the fakes of TensorRT, CUDA and TensorRT-RTX under the names of the real modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
FILES = {
    "tensorrt": HERE / "fake_tensorrt.py",
    "cuda.bindings.runtime": HERE / "fake_cuda.py",
    "tensorrt_rtx": HERE / "fake_tensorrt.py",
}


def install(monkeypatch) -> tuple[ModuleType, ModuleType, ModuleType]:
    """Fresh ones for a test: TensorRT, CUDA and TensorRT-RTX."""
    modules = []
    for name, path in FILES.items():
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        modules.append(module)
    return tuple(modules)
