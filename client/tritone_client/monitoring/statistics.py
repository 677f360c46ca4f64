"""What a running server counts, by Triton's metrics (Prometheus' text format): of systems, steps and machine.

Triton's counters run since it has loaded a model. Its warm-up and what the supervisor asks a system from time to
time are in them.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from tritone_client.defaults import METRICS_PORT
from tritone_client.errors import Failure, InvalidUrl, ServerUnavailable
from tritone_client.systems import STEPS, systems
from tritone_client.transport.exchange import exchange

LONGEST_LINE = 4096  # characters of a sample; Triton's have some hundred

# A front asks the chain of the steps, which is what is cached; a step asks the network that explains.
CACHED_IN = ("", "_chain")
EXPLAIN = "explain"

LINE = re.compile(r"([a-zA-Z_:][\w:]*)\s*(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?")
LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,\s*|$)')
ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass(frozen=True)
class Sample:
    """One value of Prometheus' text format."""

    name: str
    labels: dict[str, str]
    value: float


def parse(text: str) -> list[Sample]:
    """All samples of a text in Prometheus' text format 0.0.4, without their times. Raises `ValueError`."""
    samples = []
    for line in map(str.strip, text.split("\n")):
        if not line or line.startswith("#"):
            continue
        found = LINE.fullmatch(line) if len(line) <= LONGEST_LINE else None
        if not found:
            raise ValueError(f"'{line:.80}' is no sample of Prometheus' text format")
        name, labels, value = found.groups()
        samples.append(Sample(name, parse_labels(labels or ""), float(value)))
    return samples


def parse_labels(text: str) -> dict[str, str]:
    """What stands between the braces of a sample."""
    labels, text, end = {}, text.strip(), 0
    while end < len(text):
        found = LABEL.match(text, end)
        if not found:
            raise ValueError(f"'{text:.80}' are no labels of Prometheus' text format")
        labels[found[1]] = re.sub(r"\\.", lambda escape: ESCAPED.get(escape[0], escape[0]), found[2])
        end = found.end()
    return labels


@dataclass(frozen=True)
class Counts:
    """What Triton counts of a model; the difference of two is what happened between them.

    Attributes
    ----------
    requests : answered requests, from the cache or not; a Python step's refusals are answers, too.
    rows, executions : of the model itself, so rows / executions is the mean batch.
    total, queue, compute : seconds of all requests together: whole, waiting, at work. Each request of a batch
        counts the whole time of the batch.
    hits, misses : of the response cache.
    failures : by Triton's reason; empty in the statistics interface, which tells none.
    """

    requests: int = 0
    rows: int = 0
    executions: int = 0
    total: float = 0.0
    queue: float = 0.0
    compute: float = 0.0
    hits: int = 0
    misses: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of_statistics(cls, entry: Mapping[str, Any]) -> Counts:
        """By an entry of Triton's statistics interface; over gRPC zeros are left out and numbers are texts."""
        sums = entry.get("inference_stats", {})

        def total(name: str, unit: str) -> int:
            return int(sums.get(name, {}).get(unit, 0))

        return cls(
            requests=total("success", "count"),
            rows=int(entry.get("inference_count", 0)),
            executions=int(entry.get("execution_count", 0)),
            total=total("success", "ns") / 1e9,
            queue=total("queue", "ns") / 1e9,
            compute=sum(total(f"compute_{part}", "ns") for part in ("input", "infer", "output")) / 1e9,
            hits=total("cache_hit", "count"),
            misses=total("cache_miss", "count"),
        )

    def __sub__(self, earlier: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)))

    def fell(self, earlier: Counts) -> bool:
        """Whether any of them is less than before: the model was loaded anew."""
        return any(getattr(self, f.name) < getattr(earlier, f.name) for f in fields(self) if f.name != "failures")


# Metric of a model -> which of `Counts`, and its unit.
METRICS = {
    "nv_inference_request_success": ("requests", 1),
    "nv_inference_count": ("rows", 1),
    "nv_inference_exec_count": ("executions", 1),
    "nv_inference_request_duration_us": ("total", 1e-6),
    "nv_inference_queue_duration_us": ("queue", 1e-6),
    "nv_inference_compute_input_duration_us": ("compute", 1e-6),
    "nv_inference_compute_infer_duration_us": ("compute", 1e-6),
    "nv_inference_compute_output_duration_us": ("compute", 1e-6),
    "nv_cache_num_hits_per_model": ("hits", 1),
    "nv_cache_num_misses_per_model": ("misses", 1),
}
FAILURES = "nv_inference_request_failure"


@dataclass(frozen=True)
class Gpu:
    """A GPU as Triton sees it: its use from 0 to 1, bytes of its memory, watts."""

    uuid: str
    use: float
    memory_used: float
    memory_total: float
    power: float


@dataclass(frozen=True)
class Machine:
    """The machine that serves: use of all its cores from 0 to 1, and bytes of its memory."""

    cpu: float
    memory_used: float
    memory_total: float


@dataclass(frozen=True)
class Snapshot:
    """What the metrics said, `at` seconds of a monotonic clock; of machine and GPUs only what they told."""

    at: float
    models: dict[str, Counts]
    machine: Machine | None
    gpus: tuple[Gpu, ...]

    def since(self, earlier: Snapshot) -> dict[str, Counts]:
        """What happened between two looks; all that a model has counted where it was loaded in between."""
        return {
            name: counts if counts.fell(before) else counts - before
            for name, counts in self.models.items()
            for before in [earlier.models.get(name, Counts())]
        }


def scrape(url: str, timeout: float, headers: Mapping[str, str], root_certificates: str | None = None) -> Snapshot:
    """Ask for the metrics at `url`, within `timeout` seconds. Raises `ServerUnavailable`, `InvalidUrl`."""
    advice = f"is the server started, and does --metrics-url name its metrics (port {METRICS_PORT} unless set)?"
    try:
        status, text = fetch(url, timeout, headers, root_certificates)
    except (OSError, UnicodeError, http.client.HTTPException, Failure) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ServerUnavailable(f"No metrics can be reached at {url} ({reason}): {advice}") from None
    with suppress(ValueError, OverflowError):
        samples = parse(text)
        if any(sample.name.startswith("nv_") for sample in samples):
            return read(samples, time.monotonic())
    raise ServerUnavailable(f"{url} does not answer with Triton's metrics (HTTP status {status}): {advice}")


def fetch(url: str, timeout: float, headers: Mapping[str, str], root_certificates: str | None) -> tuple[int, str]:
    """The status and the text that a server answers with."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidUrl(f"'{url}' is no address of metrics: write http://host:{METRICS_PORT}/metrics.")
    connection: http.client.HTTPConnection
    deadline = time.monotonic() + timeout
    if parts.scheme == "https":
        try:
            context = ssl.create_default_context(cafile=root_certificates)
        except OSError as error:
            raise InvalidUrl(f"The TLS files for {url} cannot be used: {error}.") from None
        connection = http.client.HTTPSConnection(host, port, context=context)
    else:
        connection = http.client.HTTPConnection(host, port)
    try:
        response, text = exchange(connection, "GET", parts.path or "/metrics", deadline, headers=headers)
        return response.status, text.decode(errors="replace")
    finally:
        connection.close()


def read(samples: list[Sample], at: float) -> Snapshot:
    """The look that the samples of Triton's metrics are; those of a model's versions and GPUs are added up."""
    sums: dict[str, dict[str, float]] = {}
    failures: dict[str, Counter[str]] = {}
    machine: dict[str, float] = {}
    gpus: dict[str, dict[str, float]] = {}
    for sample in samples:
        model, gpu = sample.labels.get("model"), sample.labels.get("gpu_uuid")
        if model and sample.name in METRICS:
            name, unit = METRICS[sample.name]
            counts = sums.setdefault(model, {})
            counts[name] = counts.get(name, 0) + sample.value * unit
        elif model and sample.name == FAILURES:
            failures.setdefault(model, Counter())[sample.labels.get("reason", "")] += int(sample.value)
        elif gpu:
            gpus.setdefault(gpu, {})[sample.name] = sample.value
        elif not sample.labels:
            machine[sample.name] = sample.value
    whole = {"requests", "rows", "executions", "hits", "misses"}
    models = {
        model: Counts(
            **{name: int(value) if name in whole else value for name, value in counts.items()},  # type: ignore[arg-type]
            failures=+failures.get(model, Counter()),
        )
        for model, counts in sums.items()
    }
    return Snapshot(at, models, read_machine(machine), tuple(read_gpu(*gpu) for gpu in sorted(gpus.items())))


def read_machine(told: Mapping[str, float]) -> Machine | None:
    """The machine as its metrics tell it, None where they do not, or not yet: all are 0 for the first second."""
    if not told.get("nv_cpu_memory_total_bytes"):
        return None
    return Machine(told["nv_cpu_utilization"], told["nv_cpu_memory_used_bytes"], told["nv_cpu_memory_total_bytes"])


def read_gpu(uuid: str, told: Mapping[str, float]) -> Gpu:
    """A GPU as its metrics tell it; what they leave out is 0."""
    names = ("nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes", "nv_gpu_power_usage")
    return Gpu(uuid, *(told.get(name, 0.0) for name in names))


@dataclass(frozen=True)
class StepStatistics:
    """A step of a system: means for a request, in ms, and rows for an execution; None where there was none."""

    step: str
    requests: int
    failures: dict[str, int]
    queue_ms: float | None
    compute_ms: float | None
    batch: float | None


@dataclass(frozen=True)
class SystemStatistics:
    """A system: recordings answered and failed, mean ms from request to answer, and what its cache answered."""

    system: str
    answered: int
    failed: int
    ms: float | None
    cache_hits: int
    cache_misses: int
    steps: tuple[StepStatistics, ...]


def by_system(models: Mapping[str, Counts]) -> list[SystemStatistics]:
    """The systems among Triton's models, by name."""
    return [
        SystemStatistics(
            system=name,
            answered=models[name].requests,
            # Triton counts an ensemble's failure twice: as it sends the error, and as it lets the request go.
            failed=(models[name].failures.total() + 1) // 2,
            ms=mean(1e3 * models[name].total, models[name].requests),
            cache_hits=sum(models[name + part].hits for part in CACHED_IN if name + part in models),
            cache_misses=sum(models[name + part].misses for part in CACHED_IN if name + part in models),
            steps=tuple(
                of_step(step, models[f"{name}_{step}"]) for step in (*STEPS, EXPLAIN) if f"{name}_{step}" in models
            ),
        )
        for name in systems(models)
        if name in models
    ]


def of_step(step: str, counts: Counts) -> StepStatistics:
    """One step's numbers."""
    return StepStatistics(
        step,
        counts.requests,
        dict(counts.failures),
        queue_ms=mean(1e3 * counts.queue, counts.requests),
        compute_ms=mean(1e3 * counts.compute, counts.requests),
        batch=mean(counts.rows, counts.executions),
    )


def mean(total: float, count: int) -> float | None:
    """`total / count`, None where there was none."""
    return total / count if count else None
