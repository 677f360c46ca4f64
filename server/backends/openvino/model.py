"""Python-based backend `openvino`: replaces Triton's C++ backend of that name where that is not installed.

Serves the same config.pbtxt (`default_model_filename` may name an ONNX file). It supports these parameters of the
C++ backend: `INFERENCE_NUM_THREADS`, `NUM_STREAMS`, `PERFORMANCE_HINT` and `HINT_BF16`. Without the last one
OpenVINO computes in bfloat16 on CPUs that support it (AMX, AVX512_BF16) and in float32 on others, as set below.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from rows import NetworkBackend

PASSED_ON = ("NUM_STREAMS", "PERFORMANCE_HINT")


class TritonPythonModel(NetworkBackend):
    """A network on OpenVINO's CPU plugin."""

    def load(self, model: Path) -> tuple[dict[str, tuple], dict[str, tuple]]:
        """Compile the network with the settings of config.pbtxt."""
        core = ov.Core()
        fast = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        bf16 = {"YES": True, "NO": False}.get(self.parameters.get("HINT_BF16", "").upper(), fast)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "INFERENCE_NUM_THREADS": int(self.parameters.get("INFERENCE_NUM_THREADS", self.threads)),
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            # A pinned thread waits for a preprocess step that uses its core, and all other threads wait for it:
            # pinning costs 6 to 14 % of the throughput.
            "ENABLE_CPU_PINNING": "NO",
        }
        settings |= {key: self.parameters[key].upper() for key in PASSED_ON if key in self.parameters}
        self.network = core.compile_model(str(model), "CPU", settings)
        self.request = self.network.create_infer_request()
        return _tensors(self.network.inputs), _tensors(self.network.outputs)

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Compute the named outputs."""
        results = self.request.infer(inputs, share_inputs=True)
        return [results[name] for name in outputs]


def _tensors(ports: list) -> dict[str, tuple]:
    """Return name -> (NumPy type, shape with -1 for free axes)."""
    return {
        port.any_name: (
            np.dtype(port.element_type.to_dtype()),
            [d.get_length() if d.is_static else -1 for d in port.partial_shape],
        )
        for port in ports
    }
