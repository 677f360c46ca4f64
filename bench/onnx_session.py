"""Opens ONNX Runtime sessions as the server's variants do, on the CPU or strictly on a GPU."""

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
    file : ONNX file
    device : "cpu" or "cuda", the first GPU
    cuda : options of the CUDA provider; ignored on the CPU
    settings : options of the session

    Raises
    ------
    RuntimeError
        If the CUDA provider could not start; ONNX Runtime would silently use the CPU.
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
