"""Where the time of one recording goes: stages that add up to the time that the client waits.

They come from three clocks: the preprocessing's own (option `timings`), Triton's statistics of each step, and the
client's. The rest of each outer clock is a stage of its own, so that no time is lost between them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tritone_client.answer import Runtime
from tritone_client.answers.fields import Fields
from tritone_client.calls import KINDS
from tritone_client.client import Client
from tritone_client.errors import ServerUnavailable, reading_answer
from tritone_client.monitoring.statistics import Counts
from tritone_client.systems import STEPS
from tritone_client.transport.request import Recording, check_names

SETTLED_SECONDS = 2.0  # Triton counts a request just after it has sent the answer


@dataclass(frozen=True)
class Timing:
    """Where the time of a recording goes.

    Attributes
    ----------
    model : the system that was asked.
    stages : stage -> mean ms; they add up to `ms`.
    ms : mean time that the client waited, in ms.
    runs : time that it waited for each run, in ms, without the warm-up run before these.
    others : minimum number of requests from other clients meanwhile; the server's stages include these.
    runtime : where the network ran and how; None if the server does not report it.
    """

    model: str
    stages: dict[str, float]
    ms: float
    runs: tuple[float, ...]
    others: int
    runtime: Runtime | None

    def to_dict(self) -> dict[str, Any]:
        """Return a record for JSON, with each stage's share of the total."""
        record = asdict(self)
        record["computed"] = record.pop("runtime")
        return record | {"shares": {stage: ms / self.ms for stage, ms in self.stages.items()}}


def server_stages(
    timings: Sequence[Mapping[str, float]], system: Counts, steps: Mapping[str, Counts]
) -> dict[str, float]:
    """Return the mean ms per stage in the server, in the order of the stages.

    Parameters
    ----------
    timings : ms of each stage of the preprocessing, for each recording.
    system : Triton's counts of the system itself meanwhile, at least one request.
    steps : the same for its steps, by `STEPS`; steps that the system does not have may be missing.

    The stages add up to the mean time of a request in the server.
    """
    n = system.requests / 1000
    preprocess, network, postprocess = (steps.get(step, Counts()) for step in STEPS)
    stages = {stage: statistics.fmean(timing[stage] for timing in timings) for stage in timings[0]}
    stages["preprocess, rest"] = (preprocess.total - preprocess.queue) / n - sum(stages.values())
    stages["queue"] = sum(step.queue for step in steps.values()) / n
    stages["network"] = (network.total - network.queue) / n
    stages["postprocess"] = (postprocess.total - postprocess.queue) / n
    stages["ensemble"] = (system.total - sum(step.total for step in steps.values())) / n
    return stages


def measure(
    client: Client,
    recording: Recording,
    model: str,
    options: Mapping[str, object],
    repeat: int = 5,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Timing:
    """Send one recording `repeat` times, after a warm-up run, and return where the time goes.

    Raises the exceptions of `Client.classify`; `ServerUnavailable` also if the server restarts meanwhile.
    """
    check_names(options)
    options = {**options, "timings": True}
    method = client.method(model)
    build, parse = KINDS[method]
    timings, runs, calls = [], [], []
    before = counted(client, model)
    for number in progress(range(1 + repeat)):
        if number == 1:  # the measured runs follow
            before = settled(client, model, before, 1)
        start = time.perf_counter()
        request = build(recording, model, options=options).past_cache
        sent = time.perf_counter()
        tensors = client._run(client._infer(request, method, None))
        received = time.perf_counter()
        answer = parse(tensors, received - sent)
        end = time.perf_counter()
        if number:
            with reading_answer():
                timings.append(Fields(answer.raw.get("timings", {}), "RESULT.timings").numbers())
            runs.append(1e3 * (end - start))
            calls.append(1e3 * (received - sent))
    after = settled(client, model, before, repeat)
    system, *parts = (after[name] - before[name] for name in after)
    steps = dict(zip(list(after)[1:], parts, strict=True))
    count = min(system.requests, steps["preprocess"].requests)
    if count < repeat:
        raise ServerUnavailable("The server restarted meanwhile, so its counts do not cover all runs: try again.")
    others = max(counts.requests for counts in (system, *parts)) - repeat
    ms, call = statistics.fmean(runs), statistics.fmean(calls)
    stages = {"client": ms - call, "transport": call - 1e3 * system.total / system.requests}
    with reading_answer():
        stages |= server_stages(timings, system, steps)
    return Timing(model, without_negatives(stages), ms, tuple(runs), others, answer.runtime)


def without_negatives(stages: Mapping[str, float]) -> dict[str, float]:
    """Return stages of the same sum, none of them negative if the sum is not.

    The stages that are differences of two clocks, or of counts that include other requests, can be below 0. Their
    nearest neighbours, the earlier one first, are reduced instead.
    """
    names, values = list(stages), list(stages.values())
    for index, value in enumerate(values):
        if value >= 0:
            continue
        values[index], debt = 0.0, -value
        for other in sorted(range(len(values)), key=lambda i: (abs(i - index), i)):
            taken = min(debt, max(values[other], 0.0))
            values[other] -= taken
            debt -= taken
        values[index] -= debt
    return dict(zip(names, values, strict=True))


def settled(client: Client, model: str, before: Mapping[str, Counts], requests: int) -> dict[str, Counts]:
    """Return `counted` when it has `requests` more than `before`, or after `SETTLED_SECONDS`.

    Triton counts a request of the system last, after all of its steps.
    """
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        now = counted(client, model)
        if (now[""] - before[""]).requests >= requests or time.monotonic() > deadline:
            return now
        time.sleep(0.005)


def counted(client: Client, model: str) -> dict[str, Counts]:
    """Return Triton's counts of a system, under "", and of those of `STEPS` that it has."""
    entries = client._run(client._call(client._transport.statistics))
    names = {"": model} | {step: f"{model}_{step}" for step in STEPS}
    with reading_answer():
        return {step: Counts.of_statistics(entries[name]) for step, name in names.items() if name in entries}
