"""`make bench DEVICE=cuda`: measures the genre networks by batch size, and compares article A with Tritone.

All measurements alternate on the same GPU; its driver reports the utilisation.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tritone_client import Client

from answers.activation import softmax
from bench.baselines.worker import Worker
from bench.compare import InProcess, Pipeline, Probabilities, Served, Turn, compare
from bench.errors import BenchError
from bench.gpu_networks import Contender, Runner, contenders
from bench.ideal import load_network
from bench.nvml import memory_mb, watch_gpu
from bench.perf import PerfError, find_perf_analyzer
from bench.perf_input import write_input
from bench.suite import VGG, VIT, Scale, onnx, precision, say, serve
from preprocess import prepare
from server.errors import ServerError
from server.gpu import Gpu, find_gpu
from server.installation import ROOT
from server.variants import ON_GPU, PORTABLE, Machine, choose
from sounds import collection
from systems import SYSTEMS
from systems.architectures import VGG19_BN, VIT_B_16
from systems.repository import Repository
from systems.variants import MANIFEST_FILE

GPU_SYSTEMS = tuple(name for name, system in SYSTEMS.items() if system.architecture in (VGG19_BN, VIT_B_16))
BATCHES, QUICK_BATCHES = (1, 2, 4, 8, 16, 32), (1, 8, 32)
CONCURRENCY = 32  # requests in flight: more than the GPU variants have processes to prepare them
TURN_SECONDS = 2.0  # of one network with one batch; the utilisation excludes the first second


def check_gpu() -> Gpu:
    """Return the GPU; raise BenchError if PyTorch or the driver's library finds none."""
    gpu = find_gpu()  # before PyTorch: it sets the numbering of GPUs
    if not torch.cuda.is_available():
        raise BenchError(
            f"--device cuda needs an NVIDIA GPU, and PyTorch {torch.__version__} finds none: install the"
            " driver and PyTorch's CUDA build"
        )
    if gpu is None:
        raise BenchError(
            "--device cuda reads the GPU's utilisation from its driver, which reports no GPU: pip install "
            "nvidia-ml-py"
        )
    return gpu


def check_systems(names: Sequence[str]) -> None:
    """Raise BenchError for a system whose network article A's PyTorch cannot run."""
    for name in names:
        if name not in GPU_SYSTEMS:
            raise BenchError(f"--systems takes {', '.join(GPU_SYSTEMS)} with --device cuda, not {name!r}")


class GpuSuite:
    """The benchmark of the genre systems on a GPU.

    Parameters
    ----------
    scale : extent of the benchmark
    variant : variant of our server, as in `python -m server`
    folder : folder for perf_analyzer's input
    systems : systems whose networks are measured
    batches : batch sizes of the networks
    rounds : turns of each network with each batch size
    """

    def __init__(
        self,
        scale: Scale,
        variant: str,
        folder: Path,
        *,
        systems: Sequence[str] = (VGG, VIT),
        batches: Sequence[int] = BATCHES,
        rounds: int = 3,
    ) -> None:
        self.scale, self.variant, self.folder = scale, variant, folder
        self.systems, self.batches, self.rounds = systems, batches, rounds
        self.machine = Machine.here()
        self.songs = collection(scale.recordings)

    def run(self) -> dict:
        """Measure all figures, under the names that bench/gpu_report.py uses."""
        figures: dict = {"networks": [self._networks(system) for system in self.systems]}
        figures |= self._end_to_end()
        demo = json.loads(onnx(VGG).with_name(MANIFEST_FILE).read_text())["demo"]
        return {"demo_weights": demo, "gpu": figures}

    def _networks(self, system: str) -> dict:
        prepared = [prepare(song, "ccmusic", spectrum=SYSTEMS[system].spectrum).rows for song in self.songs]
        rows = np.concatenate(prepared)
        expected = softmax(load_network(onnx(system).parent, PORTABLE)(rows))
        candidates, why = contenders(system, ROOT / "model_repository", self.machine)
        return {
            "model": system,
            "rows": len(rows),
            "rounds": self.rounds,
            "why": why,
            "networks": measure_networks(candidates, rows, expected, self.batches, self.rounds, TURN_SECONDS),
        }

    def _end_to_end(self) -> dict:
        """Compare article A, one recording at a time, with our server, many requests in flight."""
        try:
            find_perf_analyzer()
            variant, why = choose(self.variant, self.machine, Repository(ROOT / "model_repository"), [VGG])
        except PerfError as error:
            return {"left_out": str(error)}
        except ServerError as error:
            raise BenchError(str(error)) from error
        if variant not in ON_GPU:
            return {"left_out": f"the server would run {variant}: {why}"}
        with ExitStack() as stack:
            workers = [stack.enter_context(Worker(f"article_a.{kind}", VGG)) for kind in ("OneByOne", "Optimised")]
            say(f"starting {VGG} on {variant}")
            server = stack.enter_context(serve(VGG, variant))

            def ask() -> np.ndarray:
                with Client(server.grpc) as client:
                    answers = [client.classify(song, model=VGG, profile="article-a") for song in self.songs]
                return np.stack([answer.probabilities for answer in answers])

            data = write_input(self.folder / "article-a.json", self.songs, {"profile": "article-a"})
            name, what = f"Tritone, {server.variant}", f"{precision(server.variant)}, through gRPC"
            ours = Served(name, what, server, VGG, data, CONCURRENCY, self.scale.window, ask)
            compared: list[Pipeline] = [*(InProcess(worker, self.songs) for worker in workers), ours]
            pipelines = [Watched(pipeline) for pipeline in compared]
            rows = compare(pipelines, self.scale.rounds, say)
        for row, pipeline in zip(rows, pipelines, strict=True):
            row["utilisation"] = mean(pipeline.utilisation)
        return {
            "comparison": {
                "model": VGG,
                "profile": "article-a",
                "format": "MP3",
                "recordings": len(self.songs),
                "rounds": self.scale.rounds,
                "concurrency": CONCURRENCY,
                "rows": rows,
            }
        }


@dataclass
class Watched:
    """A pipeline whose turns are accompanied by measurements of the GPU."""

    pipeline: Pipeline
    utilisation: list[float | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name, self.what = self.pipeline.name, self.pipeline.what

    def turn(self) -> Turn:
        """Run one turn of the pipeline."""
        with watch_gpu() as usage:
            turn = self.pipeline.turn()
        self.utilisation.append(usage.utilisation)
        return turn

    def probabilities(self) -> Probabilities:
        """Return those of the pipeline."""
        return self.pipeline.probabilities()


def measure_networks(
    candidates: Sequence[Contender],
    rows: np.ndarray,
    expected: Probabilities,
    batches: Sequence[int],
    rounds: int,
    seconds: float,
) -> list[dict]:
    """Run networks alternately for each batch size; the others are compared with the first.

    Parameters
    ----------
    candidates : the networks
    rows : float32 [n, 3, 224, 224]
    expected : float32 [n, classes], reference probabilities
    batches : batch sizes
    rounds : turns of each network with each batch size
    seconds : length of a turn

    Returns
    -------
    one dict per network: name, memory_mb (GPU memory of its process with the largest batch), agreement
    (of the most probable class), difference (largest, of a probability), and for each of "batches": batch, ms
    (median), rate (rows per second), times (median of the rounds' ratios to the first one's rate), utilisation
    """
    measured: list[dict[str, Any]] = []
    with ExitStack() as stack:
        runners = []
        for contender in candidates:
            say(f"loading {contender.name}")
            before = memory_mb()
            with watch_gpu() as usage:
                runner = stack.enter_context(Runner(contender, rows))
                found = runner.probabilities(max(batches))
            runners.append(runner)
            measured.append(
                {
                    "name": contender.name,
                    "memory_mb": usage.memory_mb - before,
                    "agreement": float((found.argmax(1) == expected.argmax(1)).mean()),
                    "difference": float(np.abs(found - expected).max()),
                    "batches": [],
                }
            )
        for batch in batches:
            turns: list[list[tuple[float, float | None]]] = [[] for _ in runners]
            for _ in range(rounds):
                for runner, done in zip(runners, turns, strict=True):
                    with watch_gpu() as usage:
                        ms = runner.turn(batch, seconds)
                    done.append((ms, usage.utilisation))
            for network, done in zip(measured, turns, strict=True):
                ms = statistics.median(turn[0] for turn in done)
                figures = {
                    "batch": batch,
                    "ms": ms,
                    "rate": 1e3 * batch / ms,
                    "times": statistics.median(first[0] / t[0] for t, first in zip(done, turns[0], strict=True)),
                    "utilisation": mean([turn[1] for turn in done]),
                }
                network["batches"].append(figures)
                say(f"{network['name']}, batch {batch}: {ms:.2f} ms, {figures['rate']:.0f} rows/s")
    return measured


def mean(shares: Sequence[float | None]) -> float | None:
    """Return the mean of the measured values; None without any."""
    known = [share for share in shares if share is not None]
    return statistics.fmean(known) if known else None
