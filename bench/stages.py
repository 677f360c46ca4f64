"""Where the time of one recording goes, measured in the running server.

The stages come from four clocks: the preparation's own (option `timings`), Triton's statistics of each step, and
those of perf_analyzer and of our client. What is left of each outer clock is shown under its own name, so that the
stages add up to what a user of the client waits.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from tritone_client import Client

from bench.embedded import Embedded
from bench.perf import measure
from bench.statistics import Counts

PREPARATION = ("decode", "downmix", "resample", "spectrogram", "picture")
NOT_SERVING = ("decode", "downmix", "resample", "spectrogram", "network", "client")
"""What has to be done anywhere, and what the Python client adds to perf_analyzer's; the rest is for serving."""


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
    steps = ("preprocess", "network", "postprocess")
    models = [model, *(f"{model}_{step}" for step in steps)]
    prepared = []
    with Client(server.grpc) as client:
        client.classify(recordings[-1], model=model, profile=profile, timings=True)
        before = [Counts.of(server, name) for name in models]
        start = time.perf_counter()
        for recording in recordings:
            prepared.append(client.classify(recording, model=model, profile=profile, timings=True).raw["timings"])
        latency = time.perf_counter() - start
    whole, *parts = [Counts.of(server, name) - b for name, b in zip(models, before, strict=True)]
    n = len(recordings) / 1000
    step = dict(zip(steps, parts, strict=True))
    stages = {stage: statistics.fmean(times[stage] for times in prepared) for stage in PREPARATION}
    stages["preprocess, rest"] = (step["preprocess"].total - step["preprocess"].queue) / n - sum(stages.values())
    stages["queue"] = sum(part.queue for part in parts) / n
    stages["network"] = (step["network"].total - step["network"].queue) / n
    stages["postprocess"] = (step["postprocess"].total - step["postprocess"].queue) / n
    stages["ensemble"] = (whole.total - sum(part.total for part in parts)) / n
    transport = measure(server, model, data, concurrency=1, seconds=seconds).transport
    stages["transport"] = transport
    stages["client"] = (latency - whole.total) / n - transport
    return stages
