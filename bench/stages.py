"""Measures the time of each stage of one recording in the running server.

Stages inside the server are those of `tritone profile`. Two outer clocks, perf_analyzer's and our client's, give
the stages "transport" and "client", so that the stages add up to the latency of the client.
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
    """Measure mean milliseconds per stage of recordings that are sent one after the other.

    Parameters
    ----------
    data : perf_analyzer's input, with the same recordings and profile
    seconds : length of its windows

    Returns
    -------
    stage -> ms, in the order of processing; their sum is the client's mean latency
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
    """Return the counts of the system and of its steps."""
    return [Counts.of(server, name) for name in (model, *(f"{model}_{step}" for step in STEPS))]
