"""Ways to run a network on a GPU (forms): options of ONNX Runtime, and PyTorch as in `bench.gpu_networks`.

All of them start from rows in host memory and end with probabilities in host memory, as in a backend of Triton. In
a dry run on the CPU, options of the CUDA provider and page-locked memory are not used.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from answers.activation import ACTIVATIONS
from bench.gpu_check.check import ARTICLES, Check
from bench.gpu_networks import Array, Classify, Contender, eager, graphed
from bench.onnx_session import SERVED, open_session
from systems import SYSTEMS

NHWC = {"prefer_nhwc": "1"}
GRAPH = {"enable_cuda_graph": "1"}
KINDS = ("float16", "float32")


def forms(check: Check) -> list[Contender]:
    """Return the forms, the most informative first: a check with little time skips the last ones."""
    file, system, repository = check.network.fp16.path, check.system, check.repository
    ours: dict[str, Any] = {"file": file, "device": check.device, "activation": SYSTEMS[system].activation}
    graphs = [
        Contender("ONNX Runtime, nhwc, CUDA graph", partial(recorded, **ours, cuda=SERVED | NHWC)),
        Contender("ONNX Runtime, CUDA graph", partial(recorded, **ours, cuda=SERVED)),
    ]
    articles = [Contender(f"PyTorch {kind}", partial(eager, system, repository, kind)) for kind in KINDS]
    in_graphs = [Contender("PyTorch float16 in CUDA graphs", partial(graphed, system, repository))]
    on_gpu, in_article = check.device == "cuda", SYSTEMS[system].architecture in ARTICLES
    return [
        Contender("ONNX Runtime, as served", partial(plain, **ours, cuda=SERVED)),
        Contender("ONNX Runtime, nhwc", partial(plain, **ours, cuda=SERVED | NHWC)),
        Contender("ONNX Runtime, page-locked", partial(bound, **ours, cuda=SERVED)),
        Contender("ONNX Runtime, nhwc, page-locked", partial(bound, **ours, cuda=SERVED | NHWC)),
        *(in_graphs if on_gpu and in_article else ()),
        *(graphs if on_gpu else ()),
        *(articles if in_article else ()),
    ]


def plain(file: Path, device: str, activation: str, cuda: dict[str, str]) -> Classify:
    """Run as the backend does: NumPy in, NumPy out."""
    session, probabilities = open_session(file, device, cuda), ACTIVATIONS[activation]
    name = session.get_inputs()[0].name
    return lambda rows: probabilities(session.run(["LOGITS"], {name: rows})[0])


def bound(file: Path, device: str, activation: str, cuda: dict[str, str]) -> Classify:
    """Run with buffers bound once per batch size, in page-locked memory, which a GPU can access directly."""
    import onnxruntime

    session, probabilities = open_session(file, device, cuda), ACTIVATIONS[activation]
    kept: dict[int, tuple[Any, Array, Array]] = {}  # rows -> binding, what it reads, what it writes

    def bind(rows: Array) -> tuple[Any, Array, Array]:
        source, target = (page_locked(shape, device) for shape in (rows.shape, (len(rows), classes(session))))
        binding = session.io_binding()
        binding.bind_ortvalue_input(session.get_inputs()[0].name, onnxruntime.OrtValue.ortvalue_from_numpy(source))
        binding.bind_ortvalue_output("LOGITS", onnxruntime.OrtValue.ortvalue_from_numpy(target))
        return binding, source, target

    def classify(rows: Array) -> Array:
        if len(rows) not in kept:
            kept[len(rows)] = bind(rows)
        binding, source, target = kept[len(rows)]
        source[:] = rows
        session.run_with_iobinding(binding)
        return probabilities(target)

    return classify


def recorded(file: Path, device: str, activation: str, cuda: dict[str, str]) -> Classify:
    """Run kernels recorded once per batch size as one CUDA graph; each has its session and buffers on the GPU."""
    import onnxruntime

    probabilities = ACTIVATIONS[activation]
    kept: dict[int, tuple[Any, Any, Any, Any]] = {}  # rows -> session, binding, what it reads, what it writes

    def record(rows: Array) -> tuple[Any, Any, Any, Any]:
        session = open_session(file, device, cuda | GRAPH)
        there = partial(onnxruntime.OrtValue.ortvalue_from_numpy, device_type=device)
        source, target = there(rows.copy()), there(np.empty((len(rows), classes(session)), np.float32))
        binding = session.io_binding()
        binding.bind_ortvalue_input(session.get_inputs()[0].name, source)
        binding.bind_ortvalue_output("LOGITS", target)
        session.run_with_iobinding(binding)  # records the graph
        return session, binding, source, target

    def classify(rows: Array) -> Array:
        if len(rows) not in kept:
            kept[len(rows)] = record(rows)
        session, binding, source, target = kept[len(rows)]
        source.update_inplace(np.ascontiguousarray(rows))
        session.run_with_iobinding(binding)
        return probabilities(target.numpy())

    return classify


def page_locked(shape: tuple[int, ...], device: str) -> npt.NDArray[np.float32]:
    """Allocate page-locked host memory; in a dry run on the CPU, normal memory."""
    if device != "cuda":
        return np.empty(shape, np.float32)
    import torch

    return torch.empty(shape, pin_memory=True).numpy()


def classes(session: Any) -> int:
    """Return the number of columns of the logits."""
    return next(output for output in session.get_outputs() if output.name == "LOGITS").shape[1]
