"""The launcher as a user starts it, on free ports of 127.0.0.1, serving the tiny system, and its processes."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import tritonclient.http as triton_http

from tests.support import tiny
from tests.support.project import ROOT
from tests.support.waiting import wait_until


class Launcher:
    """`python -m server` in a process of its own."""

    def __init__(self, folder: Path, repository: Path, *flags: str) -> None:
        self.ready_file = folder / "ready.json"
        self.log_file = folder / "log.txt"
        ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "server", *ports),
                *(f"--model-repository={repository}", f"--ready-file={self.ready_file}", *flags),
            ],
            cwd=ROOT,
            stderr=self.log_file.open("w"),
        )

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self.log_file.read_text()

    @property
    def http(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{json.loads(self.ready_file.read_text())['http']}"

    def until_ready(self) -> "Launcher":
        wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None)
        assert self.ready_file.exists(), self.log
        return self

    def classify(self, recording: bytes) -> dict:
        """The answer of the system."""
        headers = {"Inference-Header-Content-Length": "0"}
        request = urllib.request.Request(f"{self.http}/v2/models/tiny_raw/infer", recording, headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
        return json.loads(body[body.index(b'{"rows"') :])

    def classify_with_retries(self, recording: bytes, seconds: float = 20.0) -> dict:
        """The answer, asked for again after errors that a retry can cure."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.classify(recording)
            except (OSError, urllib.error.HTTPError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def triton(self) -> int:
        """Process id of tritonserver."""
        [pid] = [pid for pid in children(self.process.pid) if "tritonserver" in command(pid)]
        return pid

    def stubs(self, model: str) -> list[int]:
        """Process ids of the living stubs of a model, the newest last."""
        return sorted((pid for pid in children(self.triton()) if f"/{model}/" in command(pid)), key=started)

    def memory_prefix(self) -> str:
        """What the names of its shared memory begin with."""
        return command(self.triton()).partition("shm-region-prefix-name=")[2].partition(" ")[0].rstrip("-")

    def stop(self, *numbers: int) -> int:
        """End it in order, or with two signals at once; its exit code."""
        for number in numbers or [signal.SIGTERM]:
            if self.process.poll() is None:
                self.process.send_signal(number)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def started(pid: int) -> int:
    """When a process began, in clock ticks: numbers of processes start anew at 32768. 0 if it is gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 0


def command(pid: int) -> str:
    """Command line of a process; empty if it is gone or a zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def shared_memory(prefix: str) -> list[str]:
    assert prefix.startswith("tritone-")
    return [name for name in os.listdir("/dev/shm") if name.startswith(prefix)]


def alive(pid: int) -> bool:
    return bool(command(pid))


def infer(launcher, rows: np.ndarray) -> np.ndarray:
    with triton_http.InferenceServerClient(launcher.http.removeprefix("http://")) as client:
        tensor = triton_http.InferInput("ROWS", list(rows.shape), "FP32").set_data_from_numpy(rows)
        return client.infer("tiny_network", [tensor]).as_numpy("LOGITS")


class Load:
    """Four clients that classify ever new recordings and ask again when that fails."""

    def __init__(self, launcher) -> None:
        self.launcher, self.wrong, self.answers = launcher, [], 0
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(4)]

    def run(self) -> None:
        while not self.ended.is_set():
            seconds, level = random.randint(1, 4), random.random()
            try:
                answer = self.launcher.classify_with_retries(tiny.wav(seconds, level))
                if answer["rows"] != seconds or abs(answer["sum"] - tiny.expected(seconds, level)) > 0.01:
                    self.wrong.append(answer)
                self.answers += 1
            except Exception as error:
                self.wrong.append(repr(error))

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()
