"""Compares pipelines: they process the same recordings alternately on the same machine.

A pipeline is a baseline in a process of its own (`Worker`), or a server under load from perf_analyzer.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bench.baselines.worker import Worker
from bench.perf import measure
from bench.processes import pss_mb
from server.embedded import Embedded

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Turn:
    """One turn of a pipeline: recordings per second, CPU ms per recording, peak MB, rows per execution."""

    rate: float
    cpu_ms: float
    memory_mb: float | None
    mean_batch: float | None = None


class Pipeline(Protocol):
    """A pipeline that can be compared."""

    name: str
    what: str

    def turn(self) -> Turn:
        """Process recordings for a while."""

    def probabilities(self) -> Probabilities:
        """Return the answers to all recordings, float32 [n, classes]."""


@dataclass
class InProcess:
    """A baseline in its worker; a turn is all recordings once."""

    worker: Worker
    recordings: Sequence[bytes]
    _last: Probabilities | None = None

    def __post_init__(self) -> None:
        self.name, self.what = self.worker.name, self.worker.what

    def turn(self) -> Turn:
        """Process all recordings once."""
        run = self.worker.run(self.recordings)
        self._last = run.probabilities
        n = len(self.recordings)
        return Turn(n / run.seconds, run.cpu_seconds / n * 1e3, run.peak_mb)

    def probabilities(self) -> Probabilities:
        """Return those of the last turn."""
        if self._last is None:
            self.turn()
        assert self._last is not None  # the turn has kept them
        return self._last


@dataclass
class Served:
    """A server under load from perf_analyzer; a turn lasts three windows.

    Attributes
    ----------
    data : perf_analyzer's input file with the recordings
    ask : returns the answers to all recordings, for the comparison
    """

    name: str
    what: str
    server: Embedded
    model: str
    data: Path
    concurrency: int
    seconds: float
    ask: Callable[[], Probabilities] = field(repr=False)

    def turn(self) -> Turn:
        """Measure three windows."""
        m = measure(self.server, self.model, self.data, concurrency=self.concurrency, seconds=self.seconds)
        return Turn(m.rate, m.cpu, pss_mb(self.server.pid), m.mean_batch)

    def probabilities(self) -> Probabilities:
        """Return the answers to the recordings, requested one by one."""
        return self.ask()


def compare(pipelines: Sequence[Pipeline], rounds: int, say: Callable[[str], None]) -> list[dict]:
    """Run pipelines alternately; the speed and the answers of the others are compared with those of the first.

    Returns
    -------
    one dict per pipeline: name, what, rate (median), slowest, fastest, times (median over the rounds of the ratio
    to the first), cpu_ms, memory_mb, mean_batch, agreement (of the most probable class) and difference (largest,
    of a probability) with the first, and the rates of all turns
    """
    turns: list[list[Turn]] = [[] for _ in pipelines]
    for number in range(rounds):
        for pipeline, done in zip(pipelines, turns, strict=True):
            done.append(pipeline.turn())
            say(f"round {number + 1} of {rounds}: {pipeline.name}, {done[-1].rate:.2f} recordings/s")
    expected = pipelines[0].probabilities()
    rows = []
    for pipeline, done in zip(pipelines, turns, strict=True):
        answers = pipeline.probabilities()
        rates = [turn.rate for turn in done]
        batches = [turn.mean_batch for turn in done if turn.mean_batch]
        rows.append(
            {
                "name": pipeline.name,
                "what": pipeline.what,
                "rate": statistics.median(rates),
                "slowest": min(rates),
                "fastest": max(rates),
                "times": statistics.median(t.rate / first.rate for t, first in zip(done, turns[0], strict=True)),
                "cpu_ms": statistics.median(turn.cpu_ms for turn in done),
                "memory_mb": max((turn.memory_mb for turn in done if turn.memory_mb), default=None),
                "mean_batch": statistics.fmean(batches) if batches else None,
                "agreement": float((answers.argmax(1) == expected.argmax(1)).mean()),
                "difference": float(np.abs(answers - expected).max()),
                "rates": rates,
            }
        )
    return rows
