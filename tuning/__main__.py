"""`make tune`: finds the settings with which a system answers the most recordings per second on this machine.

Coordinate descent from the shipped configuration: instances of the preprocess step, instances and threads of the
network, delay of the dynamic batcher and its preferred batch size. The candidates are loaded into a running server
one after the other and measured with perf_analyzer. The objective is the throughput at concurrency 8, among
settings whose median latency at concurrency 1 is at most 1.25 times that of the shipped configuration. The speed
of machines drifts, so each sweep measures its starting point again, and at the end the shipped and the best
configuration are measured alternately. Only settings that are 3 % faster then, and slower in no round, are written
to `configs/local.pbtxt`, which `python -m server` uses.

Triton's Model Analyzer cannot do this: its documentation (docs/model_types.md) excludes ensembles whose steps are
ensembles, as ours are, and its search varies max_batch_size, which here limits the slices of a recording.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path

from google.protobuf import json_format, text_format
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from bench.markdown import table
from bench.perf import Measurement, PerfError, find_perf_analyzer, measure
from bench.perf_input import write_input
from server import preflight, tuned, variants
from server.__main__ import restrictions, triton_command
from server.embedded import READY_SECONDS, Embedded
from server.errors import ServerError
from server.installation import find_installation
from server.process import SharedMemory, Triton
from server.settings import parse_settings
from sounds import collection
from systems import SYSTEMS
from systems.repository import Repository
from tuning.knobs import Configurations, Knobs, neighbours, others, read_knobs, read_shipped, turn

BUSY, ALONE = 8, 1  # requests in flight
MIN_GAIN = 1.03  # settings with a smaller gain are not written
STEP_GAIN = 1.02  # a sweep ignores smaller gains
MAX_LATENCY = 1.25  # relative to the shipped configuration's median at concurrency 1
N_RECORDINGS = 4
AGAIN = "again: a machine's speed changes with time"


class Bench:
    """Loads candidates into a running server, measures them, and collects the results in a table.

    Parameters
    ----------
    server : server with the shipped configurations
    client : client of its gRPC interface
    key : key that permits loading models
    system : the system to measure
    shipped : its configurations
    data : file of `perf_input.write_input`
    seconds : length of a window of perf_analyzer
    expected : about how many measurements there will be, for the progress
    """

    def __init__(
        self,
        server: Embedded,
        client: InferenceServerClient,
        key: str,
        system: str,
        shipped: Configurations,
        data: Path,
        seconds: float,
        expected: int = 0,
    ) -> None:
        self._expected = expected
        self.rows: list[dict[str, str]] = []
        self.cores = len(os.sched_getaffinity(0))
        self.shipped = read_knobs(shipped, self.cores)
        self._server, self._client, self._key, self._system = server, client, key, system
        self._configurations, self._data, self._seconds = shipped, data, seconds
        self._loaded = dict(shipped)

    def configurations(self, knobs: Knobs) -> Configurations:
        """Return the configurations of a candidate."""
        return turn(self._configurations, knobs, self.cores)

    def busy(self, knobs: Knobs, why: str = "") -> Measurement:
        """Measure a candidate at concurrency 8; adds a row to the table.

        Parameters
        ----------
        why : why it is measured again

        Raises
        ------
        InferenceServerException
            If Triton cannot load it.
        """
        number = len(self.rows) + 1
        say(f"{number} of about {max(number, self._expected)}: {knobs}{f' ({why})' if why else ''} ...")
        self._load(knobs)
        found = measure(self._server, self._system, self._data, concurrency=BUSY, seconds=self._seconds)
        self.rows.append(
            {name: str(value) for name, value in asdict(knobs).items()}
            | {"recordings/s": f"{found.rate:.1f}", "p50 ms": f"{found.p50:.0f}", "p95 ms": f"{found.p95:.0f}"}
            | {"mean batch": f"{found.mean_batch:.1f}", "p50 ms alone": ""}
        )
        say(f"{found.rate:.1f} recordings/s")
        return found

    def alone(self) -> Measurement:
        """Measure the last candidate at concurrency 1; completes its row."""
        found = measure(self._server, self._system, self._data, concurrency=ALONE, seconds=self._seconds)
        self.rows[-1]["p50 ms alone"] = f"{found.p50:.0f}"
        return found

    def _load(self, knobs: Knobs) -> None:
        for step, config in self.configurations(knobs).items():
            if config != self._loaded[step]:
                self._client.load_model(
                    f"{self._system}_{step}",
                    headers={"triton-grpc-protocol-tritone-key": self._key},
                    config=json_format.MessageToJson(config, preserving_proto_field_name=True),
                )
                self._loaded[step] = config


def descend(bench: Bench, sweeps: Iterable[list[dict[str, int]]]) -> Knobs:
    """Run one sweep per coordinate, each from the result of the previous one; return the best knobs."""
    best, last, rate = bench.shipped, bench.shipped, bench.busy(bench.shipped).rate
    most = bench.alone().p50 * MAX_LATENCY
    for changes in sweeps:
        if last != best:
            last, rate = best, bench.busy(best, AGAIN).rate
        least = rate * STEP_GAIN
        for knobs in others(best, changes):
            try:
                found = bench.busy(knobs)
            except InferenceServerException as error:  # for example, too much for the machine
                say(f"{knobs}: Triton cannot load this: {error}")
                continue
            last = knobs
            if found.rate > least and bench.alone().p50 <= most:
                best, rate, least = knobs, found.rate, found.rate
    return best


def compare(bench: Bench, best: Knobs, turns: int) -> tuple[float, str]:
    """Measure the shipped configuration and the best one alternately.

    Returns
    -------
    gain : gain in throughput, median over the rounds
    objection : why the best one is not used; "" if it is
    """
    gains, delays = [], []
    for _ in range(turns):
        (before, before_alone), (after, after_alone) = (
            (bench.busy(knobs, why), bench.alone())
            for knobs, why in ((bench.shipped, "comparison: as shipped"), (best, "comparison: the best"))
        )
        gains.append(after.rate / before.rate)
        delays.append(after_alone.p50 / before_alone.p50)
    gain, delay = statistics.median(gains), statistics.median(delays)
    objection = ""
    if gain < MIN_GAIN:
        objection = f"the best settings reached {gain:.2f} times its throughput, less than {MIN_GAIN}"
    elif min(gains) < 1:
        objection = f"the best settings were not always faster ({', '.join(f'{g:.2f}' for g in gains)} times)"
    elif delay > MAX_LATENCY:
        objection = (
            f"the best settings take {delay:.2f} times as long for a single request, more than {MAX_LATENCY}"
        )
    return gain, objection


@contextmanager
def serving(
    repository: Repository, system: str, variant: str
) -> Iterator[tuple[Embedded, InferenceServerClient, str]]:
    """Run a server with a shipped system; yields the server, a client and the key that permits loading models.

    Raises
    ------
    ServerError
        If it does not start.
    """
    key, host = os.urandom(16).hex(), "127.0.0.1"
    settings = parse_settings([f"--model-repository={repository.path}", f"--host={host}", "--cache-size=0"])
    installation = find_installation()
    http, grpc, metrics = preflight.settle_ports(host, 0, 0, 0)
    ports = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    command = [
        *triton_command(settings, installation, preflight.models(repository, [system]), variant),
        *ports,
        *restrictions(key),
    ]
    memory = SharedMemory()
    triton = Triton(command, installation.environment(), memory)
    try:
        with InferenceServerClient(f"{host}:{grpc}") as client:
            deadline = time.monotonic() + READY_SECONDS
            while not _ready(client):
                if triton.exit_code is not None or time.monotonic() > deadline:
                    triton.kill()
                    raise ServerError(f"Triton did not start: {triton.reason()}")
                time.sleep(0.1)
            addresses = {"http": f"{host}:{http}", "grpc": f"{host}:{grpc}", "metrics": f"{host}:{metrics}"}
            yield Embedded(**addresses, pid=triton.pid, variant=variant), client, key
    finally:
        triton.stop()
        memory.close()


def tune(repository: Repository, system: str, requested: str, profile: str, quick: bool) -> str:
    """Tune a system, write or remove its configs/local.pbtxt, and return a report in Markdown.

    Raises
    ------
    ServerError, PerfError
        If the system is not exported or cannot be tuned, the server does not start, or perf_analyzer is missing or
        fails.
    """
    find_perf_analyzer()
    chosen = preflight.choose_systems(repository, [system])
    if not chosen[system].task.has_images:
        able = [name for name, each in repository.known(SYSTEMS).items() if each.task.has_images]
        raise ServerError(f"{system} cannot be tuned; choose from {', '.join(able)}")
    variant, why = variants.choose(requested, variants.Machine.here(), repository, [system])
    if variant in variants.ON_GPU:
        raise ServerError(
            f"{variant} computes on the GPU ({why}), but only CPU variants can be tuned: VARIANT=openvino"
        )
    machine, today = tuned.this_machine(), date.today().isoformat()
    say(f"{system} on {variant} ({why}), profile {profile}; leave the machine idle otherwise")
    shipped = read_shipped(repository, system, variant)
    with tempfile.TemporaryDirectory(prefix="tritone-") as folder:
        data = write_input(Path(folder) / "input.json", collection(N_RECORDINGS), {"profile": profile})
        with serving(repository, system, variant) as (server, client, key):
            cores, turns = len(os.sched_getaffinity(0)), 2 if quick else 3
            sweeps = list(neighbours(cores, quick))
            # The start of each sweep is among its candidates; comparisons follow only if something was faster.
            expected = sum(map(len, sweeps)) + 2 * turns
            bench = Bench(server, client, key, system, shipped, data, 1.0 if quick else 4.0, expected)
            best = descend(bench, sweeps)
            if best == bench.shipped:
                gain, objection = 1.0, "nothing was faster"
            else:
                gain, objection = compare(bench, best, turns)
    if objection:
        verdict = f"The shipped configuration is kept: {objection}."
        lost = tuned.store(repository, system, variant, machine, today)
    else:
        verdict = f"{gain:.2f} times the shipped throughput with {best}. Written to configs/{tuned.NAME}.pbtxt."
        texts = {step: text_format.MessageToString(c) for step, c in bench.configurations(best).items()}
        lost = tuned.store(repository, system, variant, machine, today, gain, texts)
    if lost:
        verdict += f" Removed settings for another variant, machine or version: {', '.join(lost)}."
    caption = f"{machine}; {system}, {variant}, {profile}, concurrency {BUSY} (alone: {ALONE}), {today}"
    return f"{table(bench.rows)}\n\n{caption}\n\n{verdict}"


def say(line: str) -> None:
    """Print a line about the progress to stderr."""
    print(f"tune: {line}", file=sys.stderr, flush=True)


def _ready(client: InferenceServerClient) -> bool:
    try:
        return client.is_server_ready()
    except InferenceServerException:
        return False


def main() -> int:
    """Parse the flags and tune; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tuning", description=__doc__.splitlines()[0])
    environment = os.environ.get
    shown = "(default: %(default)s)"
    parser.add_argument("--system", default=environment("SYSTEM", "vgg19_bn_cqt"), help=f"system to tune {shown}")
    parser.add_argument(
        "--variant", default=environment("VARIANT", "auto"), help=f"as in python -m server {shown}"
    )
    parser.add_argument("--profile", default="article-a", help=f"profile that prepares the recordings {shown}")
    parser.add_argument(
        "--quick", action="store_true", default=bool(environment("QUICK")), help="fewer candidates, less exact"
    )
    flags = parser.parse_args()
    try:
        repository = Repository(parse_settings([]).model_repository)
        print(tune(repository, flags.system, flags.variant, flags.profile, flags.quick))
    except (ServerError, PerfError, InferenceServerException, OSError) as error:
        say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
