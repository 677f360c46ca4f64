"""The floor: what a recording costs when the same functions are called in this process, with nothing around them.

With perfect overlap a machine of c cores answers 1 / (p / c + n) recordings per second, where p is the time that
one core takes to prepare a recording, and n the time that all cores take for its rows in the best batch. No server
can be faster with these functions; it has to move the bytes as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bench.compare import Turn
from bench.embedded import ROOT
from export.int8 import served_precision
from postprocess.genre import softmax
from preprocess import prepare

BATCHES = (1, 4, 8)


Network = Callable[[np.ndarray], np.ndarray]  # float32 [n, 3, 224, 224] -> logits float32 [n, classes]


class Floor:
    """The functions of one system as a pipeline for `compare`.

    Parameters
    ----------
    system, variant, profile : as the server that is compared with it
    spectrum : "cqt" or "mel"
    recordings : what a turn prepares

    Attributes
    ----------
    parts : of the last turn: "prepare_ms" on one core, "network_ms" per row at the best of `BATCHES`, "batch" that
        it was, "rows" per recording, "rate" recordings per second with perfect overlap
    """

    def __init__(
        self, system: str, variant: str, profile: str, spectrum: str, recordings: Sequence[bytes]
    ) -> None:
        self.name = f"floor, {variant}"
        self.what = "the same functions in one process, perfect overlap"
        self._network = load_network(ROOT / "model_repository" / f"{system}_network" / "1", variant)
        self._prepare = partial(prepare, profile=profile, spectrum=spectrum)
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
            repeats = max(1, 8 // batch)
            start = time.perf_counter()
            for _ in range(repeats):
                self._network(chunk)
            best = min(best, ((time.perf_counter() - start) / (repeats * batch) * 1e3, batch))
        cores, per_recording = len(os.sched_getaffinity(0)), len(joined) / len(rows)
        rate = 1e3 / (prepare_ms / cores + best[0] * per_recording)
        self.parts = {
            "prepare_ms": prepare_ms,
            "network_ms": best[0],
            "batch": best[1],
            "rows": per_recording,
            "rate": rate,
        }
        return Turn(rate, cores / rate * 1e3, None, best[1])

    def probabilities(self) -> np.ndarray:
        """Float32 [n, classes], for the comparison of answers."""
        rows = [self._prepare(data).rows for data in self._recordings]
        return np.stack([softmax(self._network(r)).mean(axis=0) for r in rows])


def load_network(folder: Path, variant: str) -> Network:
    """The network as the server's variant runs it: same file, same runtime, same settings, all cores."""
    if variant == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        return lambda rows: session.run(None, {"ROWS": rows})[0]
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": served_precision(),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
    }
    file = folder / ("model.int8.onnx" if variant == "openvino_int8" else "model.onnx")
    request = openvino.Core().compile_model(str(file), "CPU", settings).create_infer_request()
    return lambda rows: request.infer({"ROWS": rows})["LOGITS"]
