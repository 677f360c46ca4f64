"""Measures utilisation and memory of the GPU through its driver (NVML, package nvidia-ml-py)."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

INTERVAL = 0.1  # seconds between samples
PERIOD = 1.0  # seconds; NVML reports the mean utilisation over the last 1/6 s to 1 s


@dataclass
class Usage:
    """Utilisation and memory of a GPU during a measurement.

    Attributes
    ----------
    samples : shares of the time in which a kernel of any process ran, without the first PERIOD
    memory_mb : largest memory of all processes, MB (10^6 bytes)
    """

    samples: list[float] = field(default_factory=list)
    memory_mb: float = 0.0

    @property
    def utilisation(self) -> float | None:
        """Mean of the samples; None without any, after a short measurement or on a slice of a GPU (MIG)."""
        return statistics.fmean(self.samples) if self.samples else None


@contextmanager
def watch_gpu() -> Iterator[Usage]:
    """Measure PyTorch's first GPU for the duration of a `with` block; the first sample is taken before it."""
    import pynvml

    usage, done, start = Usage(), threading.Event(), time.monotonic()

    def sample() -> None:
        usage.memory_mb = max(usage.memory_mb, memory_mb())
        if time.monotonic() - start >= PERIOD:
            try:
                usage.samples.append(torch.cuda.utilization(0) / 100)
            except pynvml.NVMLError_NotSupported:
                return

    def watch() -> None:
        while not done.wait(INTERVAL):
            sample()

    sample()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        done.set()
        thread.join()


def memory_mb() -> float:
    """Return the GPU memory of all processes, MB."""
    return torch.cuda.device_memory_used(0) / 1e6
