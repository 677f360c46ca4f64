"""Runs a plan of TensorRT or TensorRT-RTX on the GPU: NumPy arrays in, NumPy arrays out.

Imports nothing of this project: Triton's backends import it from their own folder, and the export uses it to
compare each plan with ONNX Runtime. Opening a plan needs the Python package of TensorRT or TensorRT-RTX, and
cuda-bindings.
"""

import importlib
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

# TensorRT's last messages that an error quotes: the cause and its consequences are seldom more.
LAST_ERRORS = 3
# Seconds after the last new shape by which TensorRT-RTX has compiled kernels for it; then its cache is written.
CACHE_AFTER = 20.0


def load_tensorrt() -> ModuleType:
    """Import TensorRT's Python module: `tensorrt`, or `tensorrt_bindings` if the system provides the libraries.

    Raises
    ------
    ImportError, OSError
        If neither is installed, or its libraries are missing.
    """
    return _load("tensorrt", "tensorrt_bindings")


def load_tensorrt_rtx() -> ModuleType:
    """Import TensorRT-RTX's Python module, as `load_tensorrt` does."""
    return _load("tensorrt_rtx", "tensorrt_rtx_bindings")


def _load(*names: str) -> ModuleType:
    problem = f"the package {names[0]} is not installed"
    for name in names:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            problem = str(error)
            continue
        if hasattr(module, "Runtime"):  # any folder of this name on the path is a module, too
            return module
    raise ImportError(problem)


def load_cuda() -> ModuleType:
    """Import CUDA's runtime API.

    Raises
    ------
    ImportError
        If the package cuda-bindings is not installed.
    """
    return importlib.import_module("cuda.bindings.runtime")


def make_logger(trt: ModuleType, errors: deque[str], write: Callable[[str], Any]) -> Any:
    """Make a logger for TensorRT's objects; it must exist as long as they do.

    Parameters
    ----------
    trt : TensorRT's module
    errors : the logger appends error messages to it
    write : called with every line, with its severity, except verbose ones
    """
    base: Any = trt.ILogger

    class Logger(base):
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                errors.append(msg)
            if severity != trt.ILogger.Severity.VERBOSE:
                write(f"{severity.name} {msg}")

    return Logger()


class Plan:
    """A TensorRT plan with one execution context, one CUDA stream and a device buffer for each tensor.

    Attributes
    ----------
    inputs, outputs : name -> (NumPy type, shape with -1 for free axes)
    device_memory : bytes of GPU memory of the execution context, for the largest shape; weights not included
    """

    load = staticmethod(load_tensorrt)

    def __init__(self, path: Path, device: int = 0) -> None:
        """Load a plan onto a GPU.

        Parameters
        ----------
        path : plan, built by this TensorRT version for this kind of GPU
        device : number of the GPU

        Raises
        ------
        ImportError, OSError
            If TensorRT or cuda-bindings cannot be imported.
        RuntimeError
            If the plan does not fit TensorRT or the GPU, or the GPU has too little memory.
        """
        self._trt, self._cuda = self.load(), load_cuda()
        self._device = device
        self._buffers: dict[str, tuple[int, int]] = {}  # name -> address, bytes
        self._errors: deque[str] = deque(maxlen=LAST_ERRORS)
        self._logger = make_logger(self._trt, self._errors, lambda _: None)
        self._check(self._cuda.cudaSetDevice(device))
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise RuntimeError(f"TensorRT {self._trt.__version__} cannot read {path}: {self._why()}")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        tensors = {
            name: (
                np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name))),
                list(self._engine.get_tensor_shape(name)),
            )
            for name in names
        }
        into = {name for name in names if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT}
        self.inputs = {name: tensor for name, tensor in tensors.items() if name in into}
        self.outputs = {name: tensor for name, tensor in tensors.items() if name not in into}
        self.device_memory = int(self._engine.device_memory_size_v2)
        self._context = self._create_context()
        if self._context is None:
            raise RuntimeError(f"The GPU has no room for {path}: {self._why()}")
        self._stream = self._check(self._cuda.cudaStreamCreate())

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Compute the named outputs.

        Parameters
        ----------
        inputs : every input of the plan, of a shape within its optimization profile
        outputs : names of the outputs

        Raises
        ------
        ValueError
            If a shape is outside the optimization profile.
        RuntimeError
            If CUDA or TensorRT fails; the message is theirs.
        """
        cuda, stream = self._cuda, self._stream
        self._check(cuda.cudaSetDevice(self._device))  # the setting belongs to the thread
        rows = {name: np.ascontiguousarray(inputs[name], dtype) for name, (dtype, _) in self.inputs.items()}
        for name, array in rows.items():
            if not self._context.set_input_shape(name, array.shape):
                smallest, _, largest = (list(s) for s in self._engine.get_tensor_profile_shape(name, 0))
                raise ValueError(f"{name} is {list(array.shape)}, the plan accepts {smallest} to {largest}")
            # From pageable memory, here and below: filling page-locked memory would need another copy.
            to = self._place(name, array.nbytes)
            kind = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
            self._check(cuda.cudaMemcpyAsync(to, array.ctypes.data, array.nbytes, kind, stream))
        found = {
            name: np.empty(tuple(self._context.get_tensor_shape(name)), dtype)
            for name, (dtype, _) in self.outputs.items()
        }
        for name, array in found.items():
            self._place(name, array.nbytes)
        if not self._context.execute_async_v3(int(stream)):
            raise RuntimeError(f"TensorRT could not run the plan: {self._why()}")
        for name in outputs:
            array, kind = found[name], cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
            self._check(
                cuda.cudaMemcpyAsync(array.ctypes.data, self._buffers[name][0], array.nbytes, kind, stream)
            )
        self._check(cuda.cudaStreamSynchronize(stream))
        return [found[name] for name in outputs]

    def close(self) -> None:
        """Free the GPU's memory."""
        self._check(self._cuda.cudaStreamSynchronize(self._stream))
        for address, _ in self._buffers.values():
            self._check(self._cuda.cudaFree(address))
        self._buffers = {}
        self._check(self._cuda.cudaStreamDestroy(self._stream))
        self._context = self._engine = self._runtime = None  # in this order

    def _create_context(self) -> Any:
        """Create the execution context; None if the GPU has too little memory."""
        return self._engine.create_execution_context()

    def _place(self, name: str, size: int) -> int:
        """Return the address of a tensor's device buffer of at least `size` bytes; set it in TensorRT."""
        address, room = self._buffers.get(name, (0, 0))
        if room < size:
            if room:  # nothing uses it: every run ends with a synchronisation
                self._check(self._cuda.cudaFree(address))
                del self._buffers[name]
            address = int(self._check(self._cuda.cudaMalloc(size)))
            self._buffers[name] = address, size
            self._context.set_tensor_address(name, address)
        return address

    def _check(self, result: tuple) -> Any:
        """Return the result of a CUDA call; raise RuntimeError if its error code is not success."""
        error, *values = result
        if error != self._cuda.cudaError_t.cudaSuccess:
            _, text = self._cuda.cudaGetErrorString(error)
            raise RuntimeError(f"CUDA: {text.decode()}")
        return values[0] if values else None

    def _why(self) -> str:
        return "; ".join(self._errors) or "it gives no reason"


class RtxPlan(Plan):
    """A TensorRT-RTX plan, which is compiled for the card that runs it; the kernels are cached beside the plan.

    A batch of a new size runs on generic kernels until those for its size are compiled. These are then launched as
    one CUDA graph, unless rows have a free axis: each graph is for one shape and takes memory.
    """

    load = staticmethod(load_tensorrt_rtx)

    def __init__(self, path: Path, device: int = 0) -> None:
        """Load a plan as `Plan` does; `path` is `*.plan`, and compiled kernels are cached as `*.cache`."""
        self._cache_file = path.with_suffix(".cache")
        self._cache: Any = None
        self._seen: set[tuple] = set()  # shapes
        self._write_at = float("inf")  # by time.monotonic
        super().__init__(path, device)

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Compute the named outputs: see `Plan.run`."""
        found = super().run(inputs, outputs)
        shapes = tuple(sorted((name, array.shape) for name, array in inputs.items()))
        if shapes not in self._seen:
            self._seen.add(shapes)
            self._write_at = time.monotonic() + CACHE_AFTER
        elif time.monotonic() >= self._write_at:
            self._write_cache()
        return found

    def close(self) -> None:
        """Write the cache, and free the GPU's memory."""
        if self._write_at != float("inf"):
            self._write_cache()
        super().close()
        self._cache = None

    def _create_context(self) -> Any:
        trt, config = self._trt, self._engine.create_runtime_config()
        self._cache = config.create_runtime_cache()
        if self._cache_file.is_file():  # TensorRT-RTX ignores kernels of another card or driver, and replaces them
            self._cache.deserialize(self._cache_file.read_bytes())
        config.set_runtime_cache(self._cache)
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.LAZY
        if not any(size < 0 for _, shape in self.inputs.values() for size in shape[1:]):
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return self._engine.create_execution_context(config)

    def _write_cache(self) -> None:
        """Write the cache; if that is not permitted, the next start compiles again."""
        self._write_at = float("inf")
        partial = self._cache_file.with_name(f"{self._cache_file.name}.{os.getpid()}")
        with suppress(OSError):
            partial.write_bytes(self._cache.serialize())
            partial.replace(self._cache_file)
