"""The launcher as a user starts it, on free ports of 127.0.0.1, serving the tiny system."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.server import tiny

ROOT = Path(__file__).resolve().parents[2]


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


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


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


@pytest.fixture
def tiny_repository(tmp_path) -> Path:
    return tiny.write_repository(tmp_path / "models")


@pytest.fixture
def launch(tmp_path, tiny_repository) -> Iterator[Callable[..., Launcher]]:
    """Starts launchers and ends them after the test."""
    started: list[Launcher] = []

    def start(*flags: str, **options: tuple[str, ...]) -> Launcher:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Launcher(folder, tiny_repository, "--variant=onnxruntime", *flags, **options))
        return started[-1]

    yield start
    for launcher in started:
        launcher.stop(signal.SIGINT, signal.SIGTERM)


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def running(request, tmp_path_factory) -> Iterator[Launcher]:
    """One launcher for the tests that leave it whole, with either backend."""
    folder = tmp_path_factory.mktemp(request.param)
    launcher = Launcher(folder, tiny.write_repository(folder / "models"), f"--variant={request.param}")
    yield launcher.until_ready()
    launcher.stop(signal.SIGINT, signal.SIGTERM)
