"""Runs a baseline in its own process, to measure its CPU time and memory and to alternate with others."""

from __future__ import annotations

import importlib
import multiprocessing
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.baselines import Baseline, BaselineError
from export.errors import ExportError
from server.installation import ROOT
from sounds import recording
from systems import SYSTEMS

BASELINES = (
    "article_a.OneByOne",
    "article_a.Optimised",
    "article_b.ThreadPool",
    "article_c.OneByOne",
    "official.OneByOne",
    "tagger.OneByOne",
)
WARM_UP_SECONDS = 12.0  # a slice of the released pipeline lasts 11.4 s


@dataclass(frozen=True)
class Run:
    """One call of a baseline.

    Attributes
    ----------
    seconds : wall time inside the worker
    cpu_seconds : CPU time of all its threads, user and system
    peak_mb : peak resident memory of the process during the call, MB (10^6 bytes)
    probabilities : float32 [n, classes]
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    probabilities: npt.NDArray[np.float32]


class Worker:
    """A warm baseline that waits for recordings without using the CPU.

    PyTorch uses its default number of threads.

    Parameters
    ----------
    baseline : one of `BASELINES`
    system : system of its network, for example "vgg19_bn_cqt"
    repository : model repository with the exported network

    Attributes
    ----------
    name, what : name and description of the baseline, within the `with` block
    pid : its process id

    Raises
    ------
    BaselineError
        For an unknown baseline or system; from `with` if it cannot start, from `run` if it fails.
    """

    def __init__(self, baseline: str, system: str, repository: Path = ROOT / "model_repository") -> None:
        if baseline not in BASELINES:
            raise BaselineError(f"There is no baseline {baseline!r}; choose one of {', '.join(BASELINES)}")
        if system not in SYSTEMS:
            raise BaselineError(f"There is no system {system!r}; choose one of {', '.join(SYSTEMS)}")
        self._baseline = baseline
        context = multiprocessing.get_context("spawn")  # a fork would inherit this process's memory and threads
        self._connection, self._other_end = context.Pipe()
        arguments = (self._other_end, baseline, system, repository)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)

    def __enter__(self) -> Worker:
        self._process.start()
        self._other_end.close()  # so that the connection closes when the process exits
        try:
            self.name, self.what = self._receive()
            self.pid = self._process.pid
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()
        self._connection.close()

    def run(self, recordings: Sequence[bytes]) -> Run:
        """Classify encoded recordings; after a failure the worker can continue with others."""
        with suppress(BrokenPipeError):  # the process has exited; `_receive` reports that
            self._connection.send(list(recordings))
        return self._receive()

    def _receive(self) -> Any:
        """Return the worker's answer; raise its error."""
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise BaselineError(
                f"{self._baseline} ended with exit code {self._process.exitcode}; is there enough memory?"
            ) from None
        if isinstance(answer, str):
            raise BaselineError(f"{self._baseline} failed: {answer}")
        return answer


def _serve(connection: Connection, name: str, system: str, repository: Path) -> None:
    """Run in the worker's process: answer until the other end is closed. A text is an error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, which then terminates this process
    try:
        baseline = _make(name, system, repository)
        baseline.run([recording(0, seed=1, seconds=WARM_UP_SECONDS)])
    except Exception as error:
        connection.send(_sentence(error))
        return
    connection.send((baseline.name, baseline.what))
    with suppress(EOFError, BrokenPipeError):  # the caller has exited
        while True:
            recordings = connection.recv()
            answer: Run | str
            try:
                answer = _measure(baseline, recordings)
            except Exception as error:
                answer = _sentence(error)
            connection.send(answer)


def _make(name: str, system: str, repository: Path) -> Baseline:
    from bench.baselines.network import load_network  # imports PyTorch, in the worker only

    module, _, kind = name.partition(".")
    baseline = getattr(importlib.import_module(f"bench.baselines.{module}"), kind)
    if (wanted := SYSTEMS[system].spectrum) != baseline.spectrum:
        drawn, wanted = baseline.spectrum or "no", wanted or "waveforms"
        raise BaselineError(f"it draws {drawn} spectrograms, {system} was trained on {wanted}")
    return baseline(load_network(system, repository))


def _measure(baseline: Baseline, recordings: list[bytes]) -> Run:
    with suppress(OSError):  # where Linux does not let its mark be set back, it tells the peak since the start
        Path("/proc/self/clear_refs").write_text("5")
    cpu, start = time.process_time(), time.perf_counter()
    probabilities = baseline.run(recordings)
    return Run(time.perf_counter() - start, time.process_time() - cpu, _peak_mb(), probabilities)


def _peak_mb() -> float:
    """Linux's own mark; getrusage would begin with what the parent had when it forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def _sentence(error: Exception) -> str:
    """What went wrong in one line; our own errors need no type before them."""
    if isinstance(error, BaselineError | ExportError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0]
