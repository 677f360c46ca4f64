"""ONNX Runtime as the server's variants use it: on the CPU, or on a GPU and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime

# Options of the CUDA provider that configs/cuda.pbtxt sets.
SERVED = {"cudnn_conv_algo_search": "HEURISTIC"}


def open_session(
    file: Path,
    device: str = "cpu",
    cuda: dict[str, str] | None = None,
    settings: onnxruntime.SessionOptions | None = None,
) -> onnxruntime.InferenceSession:
    """Load a network.

    Parameters
    ----------
    device : "cpu" or "cuda", the first GPU
    cuda : options of the CUDA provider; not looked at on the CPU

    Raises
    ------
    RuntimeError
        the CUDA provider could not be started; ONNX Runtime would take the CPU without a word
    """
    import onnxruntime

    providers: list = ["CPUExecutionProvider"]
    if device == "cuda":
        onnxruntime.preload_dlls()
        providers.insert(0, ("CUDAExecutionProvider", dict(cuda or {})))
    session = onnxruntime.InferenceSession(str(file), settings, providers=providers)
    if len(session.get_providers()) != len(providers):
        raise RuntimeError(f"ONNX Runtime {onnxruntime.__version__} could not start its CUDA provider")
    return session
