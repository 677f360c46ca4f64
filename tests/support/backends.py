"""As much of triton_python_backend_utils as the Python-based backends use, to run them outside Triton."""

from concurrent.futures import Future

import numpy as np

from tests.support.project import ROOT

BACKENDS = ROOT / "server" / "backends"
CONFIG = {
    "name": "tiny_network",
    "max_batch_size": 32,
    "default_model_filename": "model.onnx",
    "input": [{"name": "ROWS", "data_type": "TYPE_FP32", "dims": ["3"]}],
    "output": [{"name": "LOGITS", "data_type": "TYPE_FP32", "dims": ["2"]}],
}
logged: list[str] = []


class Tensor:
    """A name with values."""

    def __init__(self, name: str, values: np.ndarray) -> None:
        self.name, self._values = name, values

    def as_numpy(self) -> np.ndarray:
        return self._values


class Request:
    """Rows for the network; its own response sender."""

    def __init__(self, rows: np.ndarray, cancelled: bool = False) -> None:
        self.rows, self.cancelled, self.sent = Tensor("ROWS", rows), cancelled, Future()

    def requested_output_names(self) -> list[str]:
        return ["LOGITS"]

    def is_cancelled(self) -> bool:
        return self.cancelled

    def get_response_sender(self) -> "Request":
        return self

    def send(self, response: "Response", flags: int) -> None:
        assert flags == 1  # the last one
        self.sent.set_result(response)


class Response:
    """Outputs or an error."""

    def __init__(self, output_tensors=(), error=None) -> None:
        self.outputs, self.error = output_tensors, error


class TritonError(Exception):
    """What an answer with an error carries."""

    CANCELLED = "cancelled"
