"""Measures CPU time and memory of a process and its descendants, from Linux's /proc."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Return the running children of a process."""
    found = []
    with suppress(OSError):  # the process has exited meanwhile
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def family(pid: int) -> list[int]:
    """Return a process and all its running descendants."""
    return [pid, *(member for child in children(pid) for member in family(child))]


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds (user and system) of a process and its running descendants."""
    ticks = 0
    for process in family(pid):
        with suppress(OSError):
            # The fields after the name, which is in parentheses and may contain any character.
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def pss_mb(pid: int) -> float:
    """Return the memory of a process and its descendants in MB (10^6 bytes); shared memory counts once (PSS)."""
    kib = 0
    for process in family(pid):
        with suppress(OSError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib * 1024 / 1e6


@contextmanager
def peak_of_children() -> Iterator[list[float]]:
    """Yield a list whose only element is the peak memory of this process's descendants so far, MB."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], sum(pss_mb(child) for child in children(os.getpid())))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
