"""The networks of a genre system on a GPU, each in a process of its own, from host memory to host memory.

Article A's network in PyTorch, as at the beginning of the article and fully optimised, and ours: a suitable plan
of TensorRT or TensorRT-RTX, else the FP16 network in ONNX Runtime, else optimised PyTorch. Separate processes,
because two CUDA runtimes in one process can conflict, and to measure the memory of each network.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from server.variants import CUDA, TENSORRT, TENSORRT_RTX, Machine, why_not
from systems.repository import Repository

Array = npt.NDArray[np.float32]
Classify = Callable[[Array], Array]  # images float32 [n, 3, 224, 224] -> probabilities float32 [n, classes]

WARM_UP = 3  # calls; PyTorch and cuDNN optimise for each batch size when it first occurs


@dataclass(frozen=True)
class Contender:
    """A network to measure.

    Attributes
    ----------
    name : name in tables
    make : loads it in the process where it runs; must be picklable
    """

    name: str
    make: Callable[[], Classify]


def contenders(system: str, repository: Path, machine: Machine) -> tuple[list[Contender], str]:
    """Return article A's two networks and, last, ours.

    Returns
    -------
    the contenders, and why ours is not a better one; empty if it is the best
    """
    ours, why = choose_ours(system, repository, machine)
    return [
        Contender("PyTorch float32", partial(eager, system, repository, "float32")),
        Contender("PyTorch float16", partial(eager, system, repository, "float16")),
        ours,
    ], why


def choose_ours(system: str, repository: Path, machine: Machine) -> tuple[Contender, str]:
    """Return the network that the server would run, or PyTorch if it would use the CPU; and why no better one."""
    models = Repository(repository)
    reasons: list[str] = []
    names = {
        TENSORRT: f"TensorRT {machine.tensorrt}",
        TENSORRT_RTX: f"TensorRT-RTX {machine.tensorrt_rtx}",
        CUDA: "ONNX Runtime CUDA float16",
    }
    for variant, name in names.items():
        problem = why_not(variant, machine, models, [system])
        if problem is None:
            return Contender(
                f"Tritone, {name}", partial(served, models.network(system).folder, variant)
            ), "; ".join(reasons)
        reasons.append(f"not {variant}: {problem}")
    name = "PyTorch float16 channels last in CUDA graphs"
    return Contender(f"Tritone, {name}", partial(graphed, system, repository)), "; ".join(reasons)


def eager(system: str, repository: Path, precision: str) -> Classify:
    """Load article A's network: float32, or fully optimised in float16 with the channels last."""
    import torch

    from bench.baselines.network import classify, load_network

    torch.backends.cudnn.benchmark = True  # as in the article
    network = load_network(system, repository)
    if precision == "float16":
        network = network.to(torch.float16, memory_format=torch.channels_last)
    return partial(classify, network)


def graphed(system: str, repository: Path) -> Classify:
    """Load PyTorch in float16 with the channels last, with one CUDA graph of its kernels per batch size."""
    import torch

    from bench.baselines.network import load_network

    torch.backends.cudnn.benchmark = True
    network = load_network(system, repository).to(torch.float16, memory_format=torch.channels_last)
    graphs: dict[int, tuple[Any, Any, Any]] = {}  # batch -> graph, where it reads, where it writes

    def record(batch: int, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
        rows = torch.zeros((batch, *shape), dtype=torch.float16, device="cuda")
        rows = rows.to(memory_format=torch.channels_last)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # allocations and trials of the first calls must not be recorded
            for _ in range(WARM_UP):
                network(rows)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            probabilities = network(rows).float().softmax(1)
        return graph, rows, probabilities

    @torch.inference_mode()
    def classify(rows: Array) -> Array:
        if len(rows) not in graphs:
            graphs[len(rows)] = record(len(rows), rows.shape[1:])
        graph, source, probabilities = graphs[len(rows)]
        source.copy_(torch.from_numpy(rows).cuda())  # to the GPU first: a converting copy would convert on the CPU
        graph.replay()
        return probabilities.cpu().numpy()

    return classify


def served(folder: Path, variant: str) -> Classify:
    """Load the network as the server's variant runs it."""
    from answers.activation import softmax
    from bench.ideal import load_network

    network = load_network(folder, variant)
    return lambda rows: softmax(network(rows))


class Runner:
    """A contender in its process.

    Parameters
    ----------
    contender : the contender
    rows : float32 [n, 3, 224, 224], the source of the batches

    Raises
    ------
    BenchError
        From any method, if the contender failed.
    """

    def __init__(self, contender: Contender, rows: Array) -> None:
        self.name = contender.name
        context = multiprocessing.get_context("spawn")  # a fork would inherit this process's CUDA state
        self._pool = ProcessPoolExecutor(1, context)
        self._opening = contender.make, rows

    def __enter__(self) -> Runner:
        try:
            self._do(_open, *self._opening)
        except BaseException:
            self._pool.shutdown()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def turn(self, batch: int, seconds: float) -> float:
        """Run for some seconds; return ms per batch, from rows in host memory to probabilities in host memory."""
        return self._do(_turn, batch, seconds)

    def probabilities(self, batch: int) -> Array:
        """Return the probabilities of all rows, float32 [n, classes]."""
        return self._do(_probabilities, batch)

    def _do(self, function: Callable, *arguments: object) -> Any:
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise BenchError(f"{self.name}: its process has exited; see its messages above") from error
        except Exception as error:
            first = str(error).partition("\n")[0]
            raise BenchError(f"{self.name} failed: {type(error).__name__}: {first}") from error


# State of a contender's process:
_network: Classify
_rows: Array


def _open(make: Callable[[], Classify], rows: Array) -> None:
    global _network, _rows
    _network, _rows = make(), rows


def _turn(batch: int, seconds: float) -> float:
    chunk = np.resize(_rows, (batch, *_rows.shape[1:]))
    for _ in range(WARM_UP):
        _network(chunk)
    start, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds or not calls:
        _network(chunk)
        calls += 1
    return elapsed / calls * 1e3


def _probabilities(batch: int) -> Array:
    return np.concatenate([_network(_rows[start : start + batch]) for start in range(0, len(_rows), batch)])
