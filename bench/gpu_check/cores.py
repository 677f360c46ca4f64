"""Measures how many recordings 1, 8 and 16 processes prepare, with the spectrogram on the CPU and on the GPU.

The preparation feeds the networks, so this rate limits the server.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import Any

from bench.gpu_check.check import Check
from preprocess import prepare
from preprocess.gpu import TorchTransform
from preprocess.spectrum import NUMPY, Transform
from systems import SYSTEMS

ON_CPU = "numpy"
PROCESSES = (1, 8, 16)
SECONDS = 3.0
SONGS = 4  # number of recordings that each process prepares repeatedly
START_SECONDS = 120
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def cores(check: Check) -> dict[str, list[dict[str, Any]]]:
    """Return device -> for each number of processes: recordings per second, ms of each stage."""
    os.environ |= ONE_THREAD  # as in the server's steps; the processes inherit it
    return {
        where: [measure(check, where, processes) for processes in check.some(PROCESSES)]
        for where in (ON_CPU, check.device)
    }


def measure(check: Check, where: str, processes: int) -> dict[str, Any]:
    """Run a number of processes at the same time, with the spectrogram in NumPy or on a PyTorch device."""
    context, songs = multiprocessing.get_context("spawn"), check.recordings[:SONGS]
    barrier = context.Barrier(processes, timeout=START_SECONDS)
    with ProcessPoolExecutor(processes, context, _together, (barrier,)) as pool:
        work = [pool.submit(_work, check, songs, where) for _ in range(processes)]
        if errors := [error for each in work if (error := each.exception())]:
            first = min(errors, key=lambda error: isinstance(error, BrokenBarrierError))  # prefer the actual cause
            return {"processes": processes, "failed": f"{type(first).__name__}: {first}"}
        done = [each.result() for each in work]
    stages = {stage: round(sum(ms[stage] for _, ms in done) / processes, 2) for stage in done[0][1]}
    found = {"processes": processes, "per_s": round(sum(rate for rate, _ in done), 1), "ms": stages}
    print(where, found, flush=True)
    return found


# State of one of the processes:
_barrier: Barrier


def _together(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _transform(where: str) -> Transform:
    if where == ON_CPU:
        return NUMPY
    import torch

    torch.set_num_threads(1)
    on = TorchTransform(where)
    return Transform(on.cqt, on.mel)


def _work(check: Check, songs: Sequence[bytes], where: str) -> tuple[float, dict[str, float]]:
    """Return recordings per second, and ms of each stage of a recording."""
    spectrum = SYSTEMS[check.system].spectrum
    try:
        transform = _transform(where)
        for song in songs:  # warm
            prepare(song, check.profile, spectrum=spectrum, transform=transform)
    except Exception:
        _barrier.abort()  # otherwise the other processes would wait for this one
        raise
    stages: dict[str, float] = {}
    _barrier.wait()
    start, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < (0.5 if check.brief else SECONDS):
        prepared = prepare(songs[done % len(songs)], check.profile, spectrum=spectrum, transform=transform)
        for stage, seconds in prepared.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
        done += 1
    return done / elapsed, {stage: seconds / done * 1e3 for stage, seconds in stages.items()}
