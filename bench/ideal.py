"""The ideal throughput: the same functions called in this process, without a server.

With perfect overlap a machine with c cores answers 1 / (p / c + n) recordings per second, where p is the time that
one core needs to prepare a recording, and n the time that all cores need for its rows at the best batch size. No
server can be faster with these functions, because it must also transfer the data.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from answers.activation import ACTIVATIONS, softmax
from bench.compare import Turn
from bench.onnx_session import SERVED, open_session
from export.int8 import served_precision
from preprocess import prepare, prepare_speech
from server.installation import ROOT
from server.variants import CUDA, PORTABLE, TENSORRT, TENSORRT_RTX
from systems import SYSTEMS
from systems.repository import Repository
from systems.variants import VARIANTS

BATCHES = (1, 4, 8)
SPEECH_BATCHES = (1, 2)  # of one length; with four the time per row is that with two

Network = Callable[..., np.ndarray]  # its inputs in their order, n rows of each -> logits float32 [n, classes]


class Ideal:
    """The functions of one system as a pipeline for `compare`.

    Parameters
    ----------
    system, variant, profile : as in the server that is compared with it
    spectrum : "cqt" or "mel"; None, of a system that takes the waveform, is rejected
    recordings : recordings of a turn
    repository : folder of the models

    Attributes
    ----------
    parts : figures of the last turn: "prepare_ms" on one core, "network_ms" per row at the best batch size in
        `BATCHES`, "batch" (that size), "rows" per recording, "rate" in recordings per second with perfect overlap
    """

    def __init__(
        self,
        system: str,
        variant: str,
        profile: str,
        spectrum: str | None,
        recordings: Sequence[bytes],
        repository: Path = ROOT / "model_repository",
    ) -> None:
        self.name = f"ideal, {variant}"
        self.what = "the same functions in one process, perfect overlap"
        self._network = load_network(Repository(repository).network(system).folder, variant)
        self._prepare = partial(prepare, profile=profile, spectrum=spectrum)
        self._probabilities = ACTIVATIONS[SYSTEMS[system].activation]
        self._recordings = recordings
        self._prepare(recordings[0])

    def turn(self) -> Turn:
        """Time each part over all recordings."""
        start = time.perf_counter()
        rows = [self._prepare(data).rows for data in self._recordings]
        prepare_ms = (time.perf_counter() - start) / len(rows) * 1e3
        joined = np.concatenate(rows)
        best = (np.inf, 0)
        for batch in BATCHES:
            chunk = np.resize(joined, (batch, *joined.shape[1:]))
            self._network(chunk)
            best = min(best, (_row_ms(self._network, [chunk], max(1, 8 // batch)), batch))
        self.parts, turn = _overlap(prepare_ms, *best, len(joined) / len(rows))
        return turn

    def probabilities(self) -> np.ndarray:
        """Compute the answers, float32 [n, classes], for the comparison."""
        rows = [self._prepare(data).rows for data in self._recordings]
        return np.stack([self._probabilities(self._network(r)).mean(axis=0) for r in rows])


class SpeechIdeal:
    """The functions of a speech system as a pipeline for `compare`; like `Ideal`, for recordings of up to 30 s.

    Only rows that are padded to the same length share a batch: "network_ms" is the mean over the recordings, each
    at its length, at the best batch size in `SPEECH_BATCHES`.
    """

    def __init__(self, system: str, variant: str, recordings: Sequence[bytes]) -> None:
        self.name = f"ideal, {variant}"
        self.what = "the same functions in one process, perfect overlap"
        self._network = load_network(Repository(ROOT / "model_repository").network(system).folder, variant)
        self._recordings = recordings
        self._warm = False

    def turn(self) -> Turn:
        """Time each part over all recordings."""
        start = time.perf_counter()
        rows = self._rows()
        prepare_ms = (time.perf_counter() - start) / len(rows) * 1e3
        if not self._warm:  # a runtime compiles or allocates for each new shape
            self._time(rows)
            self._warm = True
        self.parts, turn = _overlap(prepare_ms, *min(self._time(rows)), 1.0)
        return turn

    def probabilities(self) -> np.ndarray:
        """Compute the answers, float32 [n, classes], for the comparison."""
        return np.concatenate([softmax(self._network(*row)) for row in self._rows()])

    def _rows(self) -> list[tuple[np.ndarray, np.ndarray]]:
        prepared = [prepare_speech(data) for data in self._recordings]
        return [(speech.wav, speech.lengths) for speech in prepared]

    def _time(self, rows: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[float, int]]:
        """Return (mean ms per row, batch size) for each of `SPEECH_BATCHES`."""
        by_length: dict[int, list] = {}
        for row in rows:
            by_length.setdefault(row[0].shape[1], []).append(row)
        times = []
        for batch in SPEECH_BATCHES:
            total = 0.0
            for alike in by_length.values():
                chunk = [np.resize(array, (batch, array.shape[1])) for array in alike[0]]
                total += len(alike) * _row_ms(self._network, chunk, 1)
            times.append((total / len(rows), batch))
        return times


def _row_ms(network: Network, chunk: list[np.ndarray], repeats: int) -> float:
    """Return milliseconds per row of a batch."""
    start = time.perf_counter()
    for _ in range(repeats):
        network(*chunk)
    return (time.perf_counter() - start) / (repeats * len(chunk[0])) * 1e3


def _overlap(prepare_ms: float, network_ms: float, batch: int, rows: float) -> tuple[dict[str, float], Turn]:
    """Return the parts, and the turn that they result in with perfect overlap."""
    cores = len(os.sched_getaffinity(0))
    rate = 1e3 / (prepare_ms / cores + network_ms * rows)
    parts = {"prepare_ms": prepare_ms, "network_ms": network_ms, "batch": batch, "rows": rows, "rate": rate}
    return parts, Turn(rate, cores / rate * 1e3, None, batch)


def load_network(folder: Path, variant: str) -> Network:
    """Load the network as the server's variant does: same file, runtime and settings, all cores or the GPU."""
    file = folder / VARIANTS[variant].file
    if variant in (TENSORRT, TENSORRT_RTX):
        from server.backends.plan import Plan, RtxPlan

        plan = (RtxPlan if variant == TENSORRT_RTX else Plan)(file)
        return lambda *rows: plan.run(dict(zip(plan.inputs, rows, strict=True)), ["LOGITS"])[0]
    if variant in (PORTABLE, CUDA):
        session = open_session(file, "cuda" if variant == CUDA else "cpu", SERVED)
        names = [tensor.name for tensor in session.get_inputs()]
        return lambda *rows: session.run(["LOGITS"], dict(zip(names, rows, strict=True)))[0]
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": served_precision(),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(str(file), "CPU", settings).create_infer_request()
    return lambda *rows: request.infer(rows)["LOGITS"]
