"""How busy the GPU is and how much of its memory is taken, as its driver counts (NVML, package nvidia-ml-py)."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

INTERVAL = 0.1  # seconds from one look to the next
PERIOD = 1.0  # seconds; NVML's present utilisation is the mean of the last sixth of a second to second


@dataclass
class Usage:
    """What a GPU did while it was watched.

    Attributes
    ----------
    samples : shares of the time in which a kernel ran, of all processes, without the first PERIOD
    memory_mb : the most that was taken at a look, by all processes, MB (10^6 bytes)
    """

    samples: list[float] = field(default_factory=list)
    memory_mb: float = 0.0

    @property
    def utilisation(self) -> float | None:
        """Mean of the samples; None without any: watched too briefly, or a slice of a GPU (MIG), not counted."""
        return statistics.fmean(self.samples) if self.samples else None


@contextmanager
def watch_gpu() -> Iterator[Usage]:
    """Watch PyTorch's first GPU for as long as a `with` block lasts; the first look at its memory is before it."""
    import pynvml

    usage, done, start = Usage(), threading.Event(), time.monotonic()

    def look() -> None:
        usage.memory_mb = max(usage.memory_mb, memory_mb())
        if time.monotonic() - start >= PERIOD:
            try:
                usage.samples.append(torch.cuda.utilization(0) / 100)
            except pynvml.NVMLError_NotSupported:
                return

    def watch() -> None:
        while not done.wait(INTERVAL):
            look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        done.set()
        thread.join()


def memory_mb() -> float:
    """What all processes have taken of the GPU's memory, MB."""
    return torch.cuda.device_memory_used(0) / 1e6
