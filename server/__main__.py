"""`python -m server`: checks what will be served, selects a variant, and runs a supervised Triton until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from server import overlay, preflight, tuned, variants
from server.control import Control
from server.errors import ServerError
from server.healthcheck import HEADER
from server.installation import Installation, find_installation
from server.memory import Memory
from server.process import EXIT_SECONDS, HURRY, SharedMemory, Triton
from server.runtime_info import VARIABLE, runtime_info
from server.settings import LOG_LEVELS, parse_settings
from server.supervisor import Supervisor
from systems.repository import Repository
from systems.version import __version__


def main(arguments: list[str] | None = None) -> int:
    """Run the server; return the exit code."""
    settings = parse_settings(arguments)
    try:
        with ExitStack() as stack:
            serve(settings, stack)
    except ServerError as error:
        say(str(error))
        return 2
    return 0


def serve(settings: argparse.Namespace, stack: ExitStack) -> None:
    """Serve until SIGINT or SIGTERM; a second signal kills Triton at once.

    Parameters
    ----------
    stack : removes the server's temporary files in the end

    Raises
    ------
    ServerError
    """
    repository = Repository(settings.model_repository)
    chosen = preflight.choose_systems(repository, settings.systems)
    for line in preflight.left_out(repository, settings.systems):
        say(line)
    systems, needs = list(chosen), {name: system.task.shm for name, system in chosen.items()}
    installation = find_installation()
    machine = variants.Machine.here()
    variant, why = variants.choose(settings.variant, machine, repository, systems)
    processes = overlay.for_this_machine(needs) if variant in variants.ON_GPU else None
    preflight.check_shared_memory(needs, processes)
    http, grpc, metrics = preflight.settle_ports(
        settings.host, settings.http_port, settings.grpc_port, settings.metrics_port
    )
    say(f"version {__version__}, starting {', '.join(systems)} on {variant}: {why}")
    is_tuned = False
    if settings.tuned == "yes":
        is_tuned, message = tuned.usable(repository, systems, variant, tuned.this_machine())
        if message:
            say(message)

    if processes:
        settings.model_repository = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tritone-")))
        overlay.lay_out(repository, settings.model_repository, systems, variant, processes)
        say(f"{processes} preprocess instances per system")
    key = secrets.token_hex(16)
    models, configuration = preflight.models(repository, systems), tuned.NAME if is_tuned else variant
    command = [
        *triton_command(settings, installation, models, configuration),
        *(f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"),
        *restrictions(key),
        *(
            [f"--http-restricted-api=inference:{HEADER[0]}={HEADER[1]}"]
            if settings.require_header == "yes"
            else []
        ),
    ]
    environment = installation.environment() | {VARIABLE: runtime_info(variant, machine, repository, systems)}
    shared_memory = SharedMemory()

    def healthy() -> None:
        host = settings.host
        say(f"ready: http {host}:{http}, gRPC {host}:{grpc}, metrics {host}:{metrics}/metrics")
        if settings.ready_file:
            state = {"http": http, "grpc": grpc, "metrics": metrics, "pid": os.getpid()}
            write_ready_file(
                settings.ready_file, state | {"variant": variant, "tuned": is_tuned, "systems": systems}
            )

    def unhealthy() -> None:
        if settings.ready_file:
            settings.ready_file.unlink(missing_ok=True)

    def start(again: bool) -> Triton:
        with_info = LOG_LEVELS.index(settings.log_level) >= 2
        return Triton(command, environment | ({HURRY: "1"} if again else {}), shared_memory, with_info)

    supervisor = Supervisor(
        start=start,
        control=Control(f"http://{reachable(settings.host)}:{http}", {"tritone-key": key}),
        systems=systems,
        period=settings.probe_seconds,
        patience=settings.hang_seconds,
        memory=Memory(settings.memory_margin << 20, needs),
        say=say,
        on_healthy=healthy,
        on_unhealthy=unhealthy,
    )

    def on_signal(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: supervisor.kill())
        supervisor.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        supervisor.run()
    finally:
        unhealthy()
        shared_memory.close()
    say("stopped")


def triton_command(
    settings: argparse.Namespace, installation: Installation, models: list[str], configuration: str
) -> list[str]:
    """Return tritonserver and its flags, without the ports; only flags that release 24.10 has.

    Parameters
    ----------
    models : models to load
    configuration : name of the models' configuration: a variant, or `tuned.NAME`
    """
    level = LOG_LEVELS.index(settings.log_level)
    return [
        str(installation.binary),
        f"--model-repository={settings.model_repository}",
        f"--backend-directory={installation.backends}",
        f"--cache-directory={installation.caches}",
        f"--http-address={settings.host}",
        f"--grpc-address={settings.host}",
        f"--metrics-address={settings.host}",
        # Explicit, so that the supervisor can reload a model.
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        "--disable-auto-complete-config",  # the configurations are complete; saves a process per model at start
        *([] if configuration == variants.PORTABLE else [f"--model-config-name={configuration}"]),
        *([f"--cache-config=local,size={settings.cache_size * 2**20}"] if settings.cache_size else []),
        "--strict-readiness=true",
        "--grpc-infer-allocation-pool-size=0",  # or it keeps the last eight requests, up to 64 MB each
        "--exit-on-error=true",
        f"--exit-timeout-secs={EXIT_SECONDS}",
        # The network processes copy to and from a GPU themselves; Triton only passes tensors in host memory.
        # It would monitor a GPU with DCGM, of which the wheel contains a single library.
        "--allow-gpu-metrics=false",
        "--pinned-memory-pool-byte-size=0",
        f"--log-warning={str(level >= 1).lower()}",
        "--log-info=true",  # says what is loaded; the launcher forwards it only if asked to
        f"--log-verbose={int(level >= 3)}",
    ]


def restrictions(key: str) -> list[str]:
    """Return flags that restrict loading models and mapping memory to callers that send the key.

    This is needed even on loopback: a model is code, and any web page can make a browser post to 127.0.0.1. Other
    users of this machine can read the key from the process list (docs/operations.md).
    """
    apis = "model-repository,shared-memory,logging,trace"
    return [
        f"--http-restricted-api={apis}:tritone-key={key}",
        f"--grpc-restricted-protocol={apis}:tritone-key={key}",
    ]


def reachable(host: str) -> str:
    """Return the address at which this machine reaches a server that listens on `host`."""
    return "127.0.0.1" if host == "0.0.0.0" else host


def write_ready_file(path: Path, state: dict[str, object]) -> None:
    """Write the state as JSON, atomically."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(state) + "\n", encoding="utf-8")
    unfinished.replace(path)


def say(line: str) -> None:
    """Print a line for the user to stderr."""
    print(f"tritone: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
