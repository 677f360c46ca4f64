"""Finds perf_analyzer and runs measurements with it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.processes import cpu_seconds
from bench.statistics import Counts
from server.embedded import Embedded

WINDOWS = 3  # smallest number of windows that perf_analyzer averages over


class PerfError(BenchError):
    """perf_analyzer is missing or failed; the message says what to do."""


@dataclass(frozen=True)
class Measurement:
    """Result of one run of perf_analyzer.

    Attributes
    ----------
    rate : recordings per second
    p50, p95, p99 : latency of the client, ms
    mean_batch : rows per execution of the network
    cpu : CPU milliseconds of all server processes per recording
    requests : recordings answered, including those outside the windows
    transport : latency in ms that perf_analyzer measures outside the server; it reports at least 0
    """

    rate: float
    p50: float
    p95: float
    p99: float
    mean_batch: float
    cpu: float
    requests: int
    transport: float


def measure(
    server: Embedded,
    model: str,
    data: Path,
    *,
    concurrency: int | None = None,
    rate: float | None = None,
    seconds: float = 8.0,
    network: str | None = None,
) -> Measurement:
    """Send recordings over gRPC for three windows.

    Parameters
    ----------
    server : a running server
    model : the model to send requests to
    data : file of `perf_input.write_input`
    concurrency : requests in flight (closed loop), or
    rate : recordings per second, with Poisson arrivals independent of the server (open loop)
    seconds : length of a window
    network : the model whose batches are counted; default: "<model>_network"

    Raises
    ------
    PerfError
    """
    load = (
        ["--concurrency-range", str(concurrency)]
        if rate is None
        else ["--request-rate-range", str(rate), "--request-distribution", "poisson", "--max-threads", "64"]
    )
    shapes = [word for name in json.loads(data.read_text())["data"][0] for word in ("--shape", f"{name}:1")]
    network = network or f"{model}_network"
    with tempfile.TemporaryDirectory(prefix="tritone-") as folder:
        report = Path(folder) / "report.csv"
        command = [*find_perf_analyzer(), "-m", model, "-i", "grpc", "-u", server.grpc, "--input-data", str(data)]
        # Always three windows: on a shared machine perf_analyzer may never consider its results stable.
        # (Its --request-count has a resolution of seconds.)
        command += ["--measurement-interval", str(int(seconds * 1000)), "--stability-percentage", "999"]
        command += ["--percentile", "95", *shapes, *load, "-f", str(report), "--verbose-csv"]
        before = Counts.of(server, network), Counts.of(server, model), cpu_seconds(server.pid)
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode or not report.exists():
            raise PerfError(f"perf_analyzer failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        after = Counts.of(server, network), Counts.of(server, model), cpu_seconds(server.pid)
        with report.open() as file:
            figures = next(csv.DictReader(file))
    rows, requests = after[0] - before[0], (after[1] - before[1]).requests
    return Measurement(
        rate=float(figures["Inferences/Second"]),
        **{name: float(figures[f"{name} latency"]) / 1000 for name in ("p50", "p95", "p99")},
        mean_batch=rows.rows / max(rows.executions, 1),
        cpu=(after[2] - before[2]) / max(requests, 1) * 1000,
        requests=requests,
        transport=float(figures["Network+Server Send/Recv"]) / 1000,
    )


def find_perf_analyzer() -> list[str]:
    """Return the command that runs perf_analyzer.

    The wheel of tritonclient 2.51.0 contains the program; it needs libcudart.so.12 (from another wheel), even
    without a GPU, and Debian's libb64.

    Raises
    ------
    PerfError
        If the program or a library is missing.
    """
    tool = Path(sys.executable).with_name("perf_analyzer")
    if not tool.exists():
        raise PerfError("perf_analyzer is missing: it is part of tritonclient 2.51.0 (requirements/client.txt)")
    cuda = next(Path(sys.prefix).glob("lib/python3*/site-packages/nvidia/cuda_runtime/lib"), None)
    if cuda is None:
        raise PerfError("perf_analyzer needs libcudart.so.12: pip install -r requirements/bench.txt")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(cuda)}
    missing = subprocess.run([shutil.which("ldd") or "ldd", tool], env=environment, capture_output=True, text=True)
    absent = [line.split()[0] for line in missing.stdout.splitlines() if "not found" in line]
    if absent:
        raise PerfError(f"perf_analyzer needs {', '.join(absent)}: sudo apt-get install libb64-0d")
    return ["env", f"LD_LIBRARY_PATH={cuda}", str(tool)]
