"""A running server's counters of systems, steps and the machine, from Triton's metrics in Prometheus' text format.

Triton counts from the moment it loads a model. The counts include the warm-up and the supervisor's own checks.
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
from tritone_client.transport.ports import reason

LONGEST_LINE = 4096  # characters of a sample; Triton's have a few hundred

# Some systems request the chain of their steps, which is cached; a step requests the network for explanations.
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
    """Return all samples in a text of Prometheus' format 0.0.4, without their times. Raises `ValueError`."""
    samples = []
    for line in map(str.strip, text.split("\n")):
        if not line or line.startswith("#"):
            continue
        found = LINE.fullmatch(line) if len(line) <= LONGEST_LINE else None
        if not found:
            raise ValueError(f"'{line:.80}' is not a sample of Prometheus' text format")
        name, labels, value = found.groups()
        samples.append(Sample(name, parse_labels(labels or ""), float(value)))
    return samples


def parse_labels(text: str) -> dict[str, str]:
    """Return the labels between the braces of a sample."""
    labels, text, end = {}, text.strip(), 0
    while end < len(text):
        found = LABEL.match(text, end)
        if not found:
            raise ValueError(f"'{text:.80}' are not labels of Prometheus' text format")
        labels[found[1]] = re.sub(r"\\.", lambda escape: ESCAPED.get(escape[0], escape[0]), found[2])
        end = found.end()
    return labels


@dataclass(frozen=True)
class Counts:
    """Triton's counts of a model; the difference of two is what happened between them.

    Attributes
    ----------
    requests : answered requests, from the cache or not; a Python step's rejections are answers, too.
    rows, executions : of the model itself, so that rows / executions is the mean batch size.
    total, queue, compute : seconds of all requests together: in total, waiting, computing. Each request of a batch
        counts the time of the whole batch.
    hits, misses : of the response cache.
    failures : Triton's reason -> count; empty in the statistics interface, which reports none.
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
        """Return the counts in an entry of Triton's statistics, which over gRPC has texts, and omits zeros."""
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
        """Return whether any count is lower than before, because the model was reloaded."""
        return any(getattr(self, f.name) < getattr(earlier, f.name) for f in fields(self) if f.name != "failures")


# Metric of a model -> field of `Counts`, and its unit.
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
    """A GPU as Triton reports it: its use from 0 to 1, bytes of its memory, watts."""

    uuid: str
    use: float
    memory_used: float
    memory_total: float
    power: float


@dataclass(frozen=True)
class Machine:
    """The server's machine: use of all its cores from 0 to 1, and bytes of its memory."""

    cpu: float
    memory_used: float
    memory_total: float


@dataclass(frozen=True)
class Snapshot:
    """The metrics at time `at` (seconds of a monotonic clock); machine and GPUs only if Triton reports them."""

    at: float
    models: dict[str, Counts]
    machine: Machine | None
    gpus: tuple[Gpu, ...]

    def since(self, earlier: Snapshot) -> dict[str, Counts]:
        """Return the counts between two snapshots; for a model that was reloaded meanwhile, those since then."""
        return {
            name: counts if counts.fell(before) else counts - before
            for name, counts in self.models.items()
            for before in [earlier.models.get(name, Counts())]
        }


def scrape(url: str, timeout: float, headers: Mapping[str, str], root_certificates: str | None = None) -> Snapshot:
    """Read the metrics at `url` within `timeout` seconds. Raises `ServerUnavailable`, `InvalidUrl`."""
    advice = f"check that the server runs, and --metrics-url (by default port {METRICS_PORT} of its host)."
    try:
        status, text = fetch(url, timeout, headers, root_certificates)
    except (OSError, UnicodeError, http.client.HTTPException, Failure) as error:
        raise ServerUnavailable(f"No metrics can be reached at {url} ({reason(error)}): {advice}") from None
    with suppress(ValueError, OverflowError):
        samples = parse(text)
        if any(sample.name.startswith("nv_") for sample in samples):
            return read(samples, time.monotonic())
    raise ServerUnavailable(f"{url} does not answer with Triton's metrics (HTTP status {status}): {advice}")


def fetch(url: str, timeout: float, headers: Mapping[str, str], root_certificates: str | None) -> tuple[int, str]:
    """Return the HTTP status and the text of the answer at `url`."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidUrl(f"'{url}' is not an address of metrics: write http://host:{METRICS_PORT}/metrics.")
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
    """Return the snapshot in samples of Triton's metrics, summed over a model's versions and GPUs."""
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
    integers = {"requests", "rows", "executions", "hits", "misses"}
    models = {
        model: Counts(
            **{name: int(value) if name in integers else value for name, value in counts.items()},  # type: ignore[arg-type]
            failures=+failures.get(model, Counter()),
        )
        for model, counts in sums.items()
    }
    return Snapshot(at, models, read_machine(machine), tuple(read_gpu(*gpu) for gpu in sorted(gpus.items())))


def read_machine(metrics: Mapping[str, float]) -> Machine | None:
    """Return the machine's metrics, None if there are none yet: all are 0 during the first second."""
    if not metrics.get("nv_cpu_memory_total_bytes"):
        return None
    names = ("nv_cpu_utilization", "nv_cpu_memory_used_bytes", "nv_cpu_memory_total_bytes")
    return Machine(*(metrics[name] for name in names))


def read_gpu(uuid: str, metrics: Mapping[str, float]) -> Gpu:
    """Return a GPU's metrics; missing ones are 0."""
    names = ("nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes", "nv_gpu_power_usage")
    return Gpu(uuid, *(metrics.get(name, 0.0) for name in names))


@dataclass(frozen=True)
class StepStatistics:
    """A step of a system: mean ms per request, and mean rows per execution; None without any."""

    step: str
    requests: int
    failures: dict[str, int]
    queue_ms: float | None
    compute_ms: float | None
    batch: float | None


@dataclass(frozen=True)
class SystemStatistics:
    """A system: answered and failed recordings, mean ms from request to answer, cache hits and misses."""

    system: str
    answered: int
    failed: int
    ms: float | None
    cache_hits: int
    cache_misses: int
    steps: tuple[StepStatistics, ...]


def by_system(models: Mapping[str, Counts]) -> list[SystemStatistics]:
    """Return the statistics of the systems among Triton's models, by name."""
    return [
        SystemStatistics(
            system=name,
            answered=models[name].requests,
            # Triton counts an ensemble's failure twice: when it sends the error, and when it releases the request.
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
    """Return the statistics of one step."""
    return StepStatistics(
        step,
        counts.requests,
        dict(counts.failures),
        queue_ms=mean(1e3 * counts.queue, counts.requests),
        compute_ms=mean(1e3 * counts.compute, counts.requests),
        batch=mean(counts.rows, counts.executions),
    )


def mean(total: float, count: int) -> float | None:
    """Return `total / count`, None if `count` is 0."""
    return total / count if count else None
