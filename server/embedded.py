"""Runs the embedded server for the duration of a `with` block, on free ports of 127.0.0.1."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.installation import ROOT

READY_SECONDS = 300


@dataclass(frozen=True)
class Embedded:
    """Addresses of a running server, each host:port, the process id of its launcher, and its variant."""

    http: str
    grpc: str
    metrics: str
    pid: int
    variant: str


@contextmanager
def embedded(*flags: str, log: Path | None = None) -> Iterator[Embedded]:
    """Run `python -m server` with additional flags.

    Parameters
    ----------
    flags : flags of `python -m server`
    log : file for the server's output; None: the output of this process

    Raises
    ------
    RuntimeError
        If the server stopped before it was ready; its output has the reason.
    """
    with tempfile.TemporaryDirectory(prefix="tritone-") as folder:
        ready_file = Path(folder) / "ready.json"
        ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
        command = [sys.executable, "-m", "server", *ports, f"--ready-file={ready_file}", *flags]
        output = log.open("wb") if log else None
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT if log else None)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not ready_file.exists():
                if process.poll() is not None:
                    raise RuntimeError(f"the server stopped with exit code {process.returncode}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the server was not ready within {READY_SECONDS} s")
                time.sleep(0.05)
            ready = json.loads(ready_file.read_text())
            hosts = {name: f"127.0.0.1:{ready[name]}" for name in ("http", "grpc", "metrics")}
            yield Embedded(**hosts, pid=ready["pid"], variant=ready["variant"])
        finally:
            # Two signals make it exit at once: a graceful shutdown takes seconds, and no request is in flight.
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if output:
                output.close()
