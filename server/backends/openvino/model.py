"""Python-based backend `openvino`: stands in for Triton's C++ backend of that name where it is not installed.

Serves the same config.pbtxt (`default_model_filename` may name an ONNX file). Of the C++ backend's parameters it
knows `INFERENCE_NUM_THREADS`, `NUM_STREAMS`, `PERFORMANCE_HINT` and `HINT_BF16`. Without the latter OpenVINO
computes in bfloat16 where the CPU does (AMX, AVX512_BF16) and in float32 elsewhere; that is written out below.
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
            # A thread that may not leave its core waits there for a preprocess step, and all others for it:
            # 6 to 14 % fewer recordings per second.
            "ENABLE_CPU_PINNING": "NO",
        }
        settings |= {key: self.parameters[key].upper() for key in PASSED_ON if key in self.parameters}
        self.network = core.compile_model(str(model), "CPU", settings)
        self.request = self.network.create_infer_request()
        return _tensors(self.network.inputs), _tensors(self.network.outputs)

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """The named outputs for some rows."""
        results = self.request.infer(inputs, share_inputs=True)
        return [results[name] for name in outputs]


def _tensors(ports: list) -> dict[str, tuple]:
    """Name -> (NumPy type, shape), -1 for a free axis."""
    return {
        port.any_name: (
            np.dtype(port.element_type.to_dtype()),
            [d.get_length() if d.is_static else -1 for d in port.partial_shape],
        )
        for port in ports
    }
