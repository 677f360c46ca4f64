"""Where the time of one recording goes, measured in the running server.

Those within the server are told as `tritone profile` tells them. Around these stand two more clocks,
perf_analyzer's and our client's. What is left of each outer clock is shown under its own name, so that the stages
add up to what a user of the client waits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tritone_client import Client
from tritone_client.monitoring.stages import server_stages
from tritone_client.systems import STEPS

from bench.perf import measure
from bench.statistics import Counts
from server.embedded import Embedded

PREPARATION = ("decode", "downmix", "resample", "spectrogram", "picture")
# Work that any pipeline does, and the time that the Python client adds to perf_analyzer's; the rest is due to
# serving.
NOT_SERVING = ("decode", "downmix", "resample", "spectrogram", "network", "client")


def measure_stages(
    server: Embedded, model: str, recordings: Sequence[bytes], profile: str, data: Path, seconds: float
) -> dict[str, float]:
    """Mean milliseconds per stage of recordings that are sent one after the other.

    Parameters
    ----------
    data : perf_analyzer's input, of the same recordings and profile
    seconds : length of its windows

    Returns
    -------
    stage -> ms, in the order in which a recording passes them; their sum is the client's mean latency
    """
    prepared = []
    with Client(server.grpc) as client:
        client.classify(recordings[-1], model=model, profile=profile, timings=True)
        before = _counts(server, model)
        start = time.perf_counter()
        for recording in recordings:
            prepared.append(client.classify(recording, model=model, profile=profile, timings=True).raw["timings"])
        latency = (time.perf_counter() - start) / len(recordings) * 1000
    whole, *steps = (after - b for after, b in zip(_counts(server, model), before, strict=True))
    stages = server_stages(prepared, whole, dict(zip(STEPS, steps, strict=True)))
    served = sum(stages.values())
    stages["transport"] = measure(server, model, data, concurrency=1, seconds=seconds).transport
    stages["client"] = latency - served - stages["transport"]
    return stages


def _counts(server: Embedded, model: str) -> list[Counts]:
    """Of the system itself and of its steps."""
    return [Counts.of(server, name) for name in (model, *(f"{model}_{step}" for step in STEPS))]
