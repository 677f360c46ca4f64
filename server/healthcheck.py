"""Probes a running Triton with a real request: a generated recording through every exported system.

Triton 24.10's /v2/health/ready stays 200 even if the processes of its Python steps are dead; only an answer proves
that a system works. Standard library only: the supervisor imports this module, and the container runs it as
`python3 -m server.healthcheck`.
"""

from __future__ import annotations

import argparse
import array
import io
import json
import math
import os
import random
import signal
import struct
import sys
import time
import urllib.error
import urllib.request
import wave
from dataclasses import dataclass
from pathlib import Path

from systems.repository import Repository

RATE = 8000  # Hz
HEADER = "x-tritone", "1"  # a server may require it (--require-header)
PAUSE = 0.5  # seconds between probes of a system whose queue is full
REPOSITORY = Path(__file__).resolve().parent.parent / "model_repository"
FAILURES = Path("/tmp/tritone-failed-health-checks")


class Unhealthy(Exception):
    """A system did not answer; the message contains Triton's error."""


class Busy(Exception):
    """The queue was full; the system is healthy only if it answers other requests."""


def recording() -> bytes:
    """Return one second of a quiet tone as a WAV file.

    Each call uses a new pitch, so that the response cache does not contain the answer. A file rather than samples,
    so that decoding is checked as well; short, so that a probe costs one row of the network.
    """
    step = 2 * math.pi * random.uniform(200, 2000) / RATE
    samples = array.array("h", (round(3000 * math.sin(step * n)) for n in range(RATE)))
    if sys.byteorder == "big":
        samples.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def probe(http: str, system: str, timeout: float) -> None:
    """Send a recording through the chain of a system, past the model that clients call, which does not count it.

    Parameters
    ----------
    http : address of the server, "http://127.0.0.1:8000"
    timeout : seconds

    Raises
    ------
    Unhealthy
        If Triton answers with an error other than a full queue.
    Busy
        If the queue is full.
    TimeoutError
        If there is no answer in time.
    OSError
        If the server cannot be reached.
    """
    sound = recording()
    audio = struct.pack("<I", len(sound)) + sound
    tensor = {"name": "AUDIO", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(audio)}}
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "RESULT"}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    headers[HEADER[0]] = HEADER[1]
    request = urllib.request.Request(f"{http}/v2/models/{system}_chain/infer", head + audio, headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            if b"RESULT" not in response.read():
                raise Unhealthy(f"{system} answered without a RESULT")
    except urllib.error.HTTPError as error:
        message = f"{system} answered {error.code}: {error.read().decode(errors='replace')}"
        raise (Busy if error.code == 503 else Unhealthy)(message) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise error.reason from error
        raise


@dataclass(frozen=True)
class Requests:
    """What Triton counts of a model: requests that it has answered, and requests that ended, answered or not."""

    answered: int
    ended: int


def requests(http: str, model: str = "") -> dict[str, Requests]:
    """Return the requests of one model, or of all loaded models in one call, by name.

    Raises
    ------
    OSError
        If the server cannot be reached, or the model is not loaded.
    """
    with urllib.request.urlopen(f"{http}/v2/models/{f'{model}/' if model else ''}stats", timeout=20) as response:
        entries = json.load(response)["model_stats"]
    counts = {entry["name"]: entry["inference_stats"] for entry in entries}
    return {
        name: Requests(count["success"]["count"], count["success"]["count"] + count["fail"]["count"])
        for name, count in counts.items()
    }


def answered(http: str, system: str) -> int:
    """Return how many requests the network of a system has run; excludes cached answers and rejected requests."""
    network = f"{system}_network"
    return requests(http, network)[network].answered


def ask(http: str, system: str, patience: float) -> None:
    """Probe a system until it answers the probe or any other request.

    Parameters
    ----------
    patience : seconds without any answer after which the system counts as hanging

    Raises
    ------
    Unhealthy, OSError
    """
    before, deadline = answered(http, system), time.monotonic() + patience
    while True:
        try:
            probe(http, system, max(0.1, deadline - time.monotonic()))
            return
        except (Busy, TimeoutError) as error:
            if answered(http, system) > before:
                return
            if time.monotonic() > deadline:
                raise Unhealthy(f"{system} has answered nothing for {patience:.0f} s") from error
            time.sleep(PAUSE)


def main() -> None:
    """Exit with code 0 if every system answers, else with code 1."""
    parser = argparse.ArgumentParser(
        prog="healthcheck", description="Send a generated recording to every served system and check the answers."
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server's HTTP address")
    parser.add_argument("--model-repository", type=Path, default=REPOSITORY, help="folder of the models")
    parser.add_argument(
        "--timeout", type=float, default=20.0, help="seconds without any answer after which a system has failed"
    )
    parser.add_argument(
        "--stop-after",
        type=int,
        default=0,
        metavar="N",
        help="in a container: once all systems have answered, terminate process 1 after N consecutive failures, so"
        " that the restart policy starts a new one",
    )
    options = parser.parse_args()
    served = [name.strip() for name in os.environ.get("TRITONE_SYSTEMS", "").split(",") if name.strip()]
    systems = served or Repository(options.model_repository).systems()
    if not systems:
        sys.exit(f"no exported network in {options.model_repository}: run make export")
    try:
        for system in systems:
            ask(options.url, system, options.timeout)
    except (Unhealthy, OSError) as error:
        if (
            options.stop_after and FAILURES.exists()
        ):  # all systems have answered before: they are not still loading
            failures = 1 + int(FAILURES.read_text())
            FAILURES.write_text(str(failures))
            if failures >= options.stop_after:
                FAILURES.unlink()
                os.kill(1, signal.SIGTERM)
        sys.exit(str(error) or type(error).__name__)
    if options.stop_after:
        FAILURES.write_text("0")


if __name__ == "__main__":
    main()
