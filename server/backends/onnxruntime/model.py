"""Python-based backend `onnxruntime`: replaces Triton's C++ backend of that name where that is not installed.

Serves the same config.pbtxt, on the CPU or, for a KIND_GPU instance, on a GPU (package onnxruntime-gpu). It
supports these settings of the C++ backend: `optimization.graph.level` and the parameters `intra_op_thread_count`,
`inter_op_thread_count`, `execution_mode`, `enable_mem_arena`, `enable_mem_pattern`, `cudnn_conv_algo_search` and
`arena_extend_strategy`; and the parameters of a `gpu_execution_accelerator` named `cuda`, which are options of
ONNX Runtime's CUDA provider, such as `prefer_nhwc`.
"""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from rows import NetworkBackend

TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "int64": np.int64, "int32": np.int32}
LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,  # Triton's default
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
# Options of the CUDA provider, and their names by number in config.pbtxt; the first is Triton's default.
CUDA_OPTIONS = {
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
    "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
}
CUDA = "CUDAExecutionProvider"


class TritonPythonModel(NetworkBackend):
    """A network on ONNX Runtime's CPU or CUDA provider."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network on the CPU or the GPU, depending on the kind of the instance."""
        self.on_gpu = args["model_instance_kind"] == "GPU"
        if self.on_gpu:
            self.rows_at_a_time = None
        super().initialize(args)

    def load(self, model: Path) -> tuple[dict[str, tuple], dict[str, tuple]]:
        """Open a session with the settings of config.pbtxt."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(self.parameters.get("intra_op_thread_count", 0)) or self.threads
        options.inter_op_num_threads = int(self.parameters.get("inter_op_thread_count", 0))
        options.execution_mode = ort.ExecutionMode(int(self.parameters.get("execution_mode", 0)))
        options.enable_cpu_mem_arena = self.parameters.get("enable_mem_arena", "1") == "1"
        options.enable_mem_pattern = self.parameters.get("enable_mem_pattern", "1") == "1"
        graph = self.config.get("optimization", {}).get("graph", {})
        options.graph_optimization_level = LEVELS[int(graph.get("level", 0))]
        providers = [self._cuda()] if self.on_gpu else []
        # ONNX Runtime runs nodes that do not pay on a GPU, such as products of shapes, on the CPU.
        self.session = ort.InferenceSession(str(model), options, providers=[*providers, "CPUExecutionProvider"])
        if self.on_gpu and CUDA not in self.session.get_providers():  # it would silently run on the CPU
            raise self._no_gpu("could not start it; its log above says why")
        return _tensors(self.session.get_inputs()), _tensors(self.session.get_outputs())

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Compute the named outputs."""
        return self.session.run(outputs, inputs)

    def _cuda(self) -> tuple[str, dict[str, str]]:
        """Return the CUDA provider and its options."""
        if CUDA not in ort.get_available_providers():
            raise self._no_gpu("comes without it")
        ort.preload_dlls()  # CUDA and cuDNN, from their wheels where they are installed
        chosen = {key: values[int(self.parameters.get(key, 0))] for key, values in CUDA_OPTIONS.items()}
        return CUDA, {**self._accelerator(), **chosen, "device_id": str(self.device)}

    def _accelerator(self) -> dict[str, str]:
        """Return the CUDA provider's options in `optimization`; raise for another accelerator."""
        accelerators = self.config.get("optimization", {}).get("execution_accelerators", {})
        options: dict[str, str] = {}
        for each in accelerators.get("gpu_execution_accelerator", []):
            if each["name"] != "cuda":
                raise pb_utils.TritonModelException(
                    f"{self.config['name']}: the gpu_execution_accelerator must be 'cuda', not '{each['name']}'"
                )
            options |= each.get("parameters", {})
        return options

    def _no_gpu(self, problem: str) -> Exception:
        return pb_utils.TritonModelException(
            f"{self.config['name']}: KIND_GPU needs ONNX Runtime's CUDA provider, and version {ort.__version__}"
            f" {problem}; make gpu installs onnxruntime-gpu, CUDA and cuDNN; the driver must be R580 or later"
        )


def _tensors(tensors: list) -> dict[str, tuple]:
    """Return name -> (NumPy type, shape with -1 for free axes)."""
    return {
        t.name: (
            np.dtype(TYPES.get(t.type.removeprefix("tensor(").removesuffix(")"), object)),
            [d if isinstance(d, int) else -1 for d in t.shape],
        )
        for t in tensors
    }
