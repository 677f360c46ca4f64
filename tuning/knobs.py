"""The settings (knobs) of a system's steps that `make tune` searches, and the values to try."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from server import tuned
from systems.repository import Repository

THREADS = {"onnxruntime": "intra_op_thread_count", "openvino": "INFERENCE_NUM_THREADS"}  # backend -> its parameter
MAX_PROCESSES = {"preprocess": 16, "network": 4}  # a network instance holds its weights, a preprocess one 100 MB

Configurations = dict[str, ModelConfig]  # step ("preprocess", "network") -> its configuration


@dataclass(frozen=True)
class Knobs:
    """Values of the knobs.

    Attributes
    ----------
    preprocess : instances of the preprocess step, each a process with one thread
    networks : instances of the network
    threads : threads of each network instance
    delay : microseconds that the dynamic batcher waits for more rows
    preferred : rows at which it stops waiting; 0: it does not wait for a certain number
    """

    preprocess: int
    networks: int
    threads: int
    delay: int
    preferred: int

    def __str__(self) -> str:
        batches = f"batches of {self.preferred}" if self.preferred else "any batch"
        return (
            f"{self.preprocess} preprocess, {self.networks} network of {self.threads} threads, {batches},"
            f" {self.delay} µs delay"
        )


def read_shipped(repository: Repository, system: str, variant: str) -> Configurations:
    """Return the shipped configurations of the steps of a system that are tuned."""
    files = {step: tuned.shipped_file(repository.model(system, step), variant) for step in tuned.STEPS}
    return {
        step: text_format.Parse(file.read_text(encoding="utf-8"), ModelConfig()) for step, file in files.items()
    }


def read_knobs(configurations: Configurations, cores: int) -> Knobs:
    """Return the values of the knobs in configurations; a network without a number of threads uses all cores."""
    network = configurations["network"]
    threads = {key: value.string_value for key, value in network.parameters.items()}.get(THREADS[network.backend])
    return Knobs(
        preprocess=configurations["preprocess"].instance_group[0].count,
        networks=network.instance_group[0].count,
        threads=int(threads or 0) or cores,
        delay=network.dynamic_batching.max_queue_delay_microseconds,
        preferred=max(network.dynamic_batching.preferred_batch_size, default=0),
    )


def turn(shipped: Configurations, knobs: Knobs, cores: int) -> Configurations:
    """Return the shipped configurations with other values of the knobs; everything else is unchanged."""
    old = read_knobs(shipped, cores)
    turned = {step: ModelConfig.FromString(config.SerializeToString()) for step, config in shipped.items()}
    network = turned["network"]
    turned["preprocess"].instance_group[0].count = knobs.preprocess
    network.instance_group[0].count = knobs.networks
    if knobs.threads != old.threads:
        network.parameters[THREADS[network.backend]].string_value = str(knobs.threads)
    network.dynamic_batching.max_queue_delay_microseconds = knobs.delay
    if knobs.preferred != old.preferred:
        del network.dynamic_batching.preferred_batch_size[:]
        network.dynamic_batching.preferred_batch_size.extend([knobs.preferred] if knobs.preferred else [])
    return turned


def neighbours(cores: int, quick: bool) -> Iterator[list[dict[str, int]]]:
    """Yield the candidates of each sweep, as changes to the knobs from which it starts.

    Parameters
    ----------
    cores : usable cores
    quick : try only instances and threads, and fewer of them
    """
    counts = {1, cores // 2, cores, cores + cores // 2}
    yield [{"preprocess": n} for n in sorted({min(max(n, 1), MAX_PROCESSES["preprocess"]) for n in counts})]
    shapes = {(1, cores)} if quick else {(1, cores), (1, max(cores - 1, 1))}
    for networks in (n for n in (2, 4) if n <= min(cores, MAX_PROCESSES["network"])):
        shapes |= {(networks, cores // networks)} if quick else {(networks, cores // networks), (networks, cores)}
    yield [{"networks": networks, "threads": threads} for networks, threads in sorted(shapes)]
    if not quick:
        yield [{"delay": delay} for delay in (0, 1000, 5000, 20000)]
        yield [{"preferred": rows} for rows in (0, 4, 8)]


def others(start: Knobs, changes: list[dict[str, int]]) -> list[Knobs]:
    """Return the knobs after each change, without changes that have no effect."""
    return [knobs for change in changes if (knobs := replace(start, **change)) != start]
