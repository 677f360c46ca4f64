"""Python-based backend `onnxruntime`: stands in for Triton's C++ backend of that name where it is not installed.

Serves the same config.pbtxt. Of the C++ backend's settings it knows the parameters `intra_op_thread_count`,
`inter_op_thread_count`, `execution_mode`, `enable_mem_arena`, `enable_mem_pattern` and `optimization.graph.level`.
"""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from rows import NetworkBackend

TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "int64": np.int64, "int32": np.int32}
LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,  # Triton's default
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


class TritonPythonModel(NetworkBackend):
    """A network on ONNX Runtime's CPU provider."""

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
        self.session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return _tensors(self.session.get_inputs()), _tensors(self.session.get_outputs())

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """The named outputs for some rows."""
        return self.session.run(outputs, inputs)


def _tensors(tensors: list) -> dict[str, tuple]:
    """Name -> (NumPy type, shape), -1 for a free axis."""
    return {
        t.name: (
            np.dtype(TYPES.get(t.type.removeprefix("tensor(").removesuffix(")"), object)),
            [d if isinstance(d, int) else -1 for d in t.shape],
        )
        for t in tensors
    }
