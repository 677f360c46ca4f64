"""Checks the real Triton on this machine: readiness, runtime, answers and throughput."""

from __future__ import annotations

import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tritone_client import Client

from bench.gpu_check.check import Check
from bench.ideal import Ideal
from bench.perf import PerfError, measure
from bench.perf_input import write_input
from bench.processes import pss_mb
from server.embedded import Embedded, embedded
from server.variants import PORTABLE
from systems import SYSTEMS

CONCURRENCIES = (1, 8, 32, 64)
WINDOW = 1.5  # seconds of a window; perf_analyzer measures three


def server(check: Check) -> dict[str, Any]:
    """Return the time until it is ready, its runtime, the difference of its answers from float32, and its load."""
    flags = (f"--model-repository={check.repository}", f"--systems={check.system}", f"--variant={check.variant}")
    off = ("--tuned=no", "--cache-size=0", "--probe-seconds=3600")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tritone-check-") as folder, embedded(*flags, *off) as running:
        found: dict[str, Any] = {"variant": running.variant, "ready_s": round(time.monotonic() - start, 1)}
        with Client(running.grpc) as client:
            answers = [
                client.classify(song, model=check.system, profile=check.profile) for song in check.recordings
            ]
        found["computed"] = asdict(answers[0].computed) if answers[0].computed else None
        spectrum = SYSTEMS[check.system].spectrum
        ideal = Ideal(check.system, PORTABLE, check.profile, spectrum, check.recordings, check.repository)
        expected, got = ideal.probabilities(), np.stack([answer.probabilities for answer in answers])
        found["same"] = float((got.argmax(1) == expected.argmax(1)).mean())
        found["difference"] = round(float(np.abs(got - expected).max()), 5)
        data = write_input(Path(folder) / "input.json", check.recordings, {"profile": check.profile})
        found["load"] = [load(check, running, data, concurrency) for concurrency in check.some(CONCURRENCIES)]
        found["host_mb"] = round(pss_mb(running.pid))
    return found


def load(check: Check, running: Embedded, data: Path, concurrency: int) -> dict[str, Any]:
    """Measure with perf_analyzer and a number of requests in flight, including the load of GPU and cores."""
    watch: AbstractContextManager = nullcontext()
    if check.device == "cuda":
        from bench.nvml import watch_gpu  # PyTorch

        watch = watch_gpu()
    try:
        with watch as usage:
            m = measure(running, check.system, data, concurrency=concurrency, seconds=WINDOW)
    except PerfError as error:  # keep the earlier results
        return {"in_flight": concurrency, "failed": str(error).strip().rpartition("\n")[2]}
    found = {
        "in_flight": concurrency,
        "per_s": round(m.rate, 1),
        "p50_ms": round(m.p50, 1),
        "p95_ms": round(m.p95, 1),
        "batch": round(m.mean_batch, 2),
        "cores_busy": round(m.rate * m.cpu / 1e3, 1),  # by the server; m.cpu is CPU ms per recording
    }
    if usage:
        found |= {"gpu_busy": usage.utilisation, "gpu_mb": round(usage.memory_mb)}
    print(found, flush=True)
    return found
