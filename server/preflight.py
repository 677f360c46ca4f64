"""Checks before Triton starts, each with a message that says what to do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from server import overlay
from server.errors import ServerError
from systems import SYSTEMS, System
from systems.repository import Repository
from systems.system import Shm
from systems.variants import MANIFEST_FILE


def choose_systems(repository: Repository, wanted: list[str]) -> dict[str, System]:
    """Return the systems to serve: the wanted ones, or all whose network has been exported.

    Raises
    ------
    ServerError
        If there is none, a wanted one is missing or unknown, or Triton would reject the files of one.
    """
    if not repository.path.is_dir():
        raise ServerError(f"There is no model repository {repository.path}; name it with --model-repository")
    exported = repository.systems()
    for name in wanted:
        if name not in exported:
            has = f"exported are {', '.join(exported)}" if exported else "nothing has been exported yet"
            raise ServerError(f"{name} has no network in {repository.path} ({has}): run make export")
    if not exported:
        raise ServerError(f"No system in {repository.path} has a network: run make export")
    known = repository.known(SYSTEMS)
    for name in wanted or exported:
        network = repository.network(name)
        if network.why_not:
            raise ServerError(network.why_not)
        if name not in known:
            raise ServerError(
                f"{name} in {repository.path} does not come with Tritone, and its manifest does not name the "
                f"system that it is like: export it with --checkpoint and --name {name}, or remove {network.model}"
            )
    return {name: known[name] for name in wanted or exported}


def left_out(repository: Repository, wanted: list[str]) -> list[str]:
    """Return a sentence for each system that is not served because its export is incomplete.

    Parameters
    ----------
    wanted : the systems to serve; empty: all, and only then a system can be left out
    """
    sentences = []
    for name in [] if wanted else repository.configured():
        network = repository.network(name)
        present = [path.is_file() for path in (network.onnx.path, network.folder / MANIFEST_FILE)]
        if any(present) and not all(present):
            missing = (network.onnx.path, network.folder / MANIFEST_FILE)[present.index(False)]
            sentences.append(f"{name} is left out, because {missing} is missing: run make export SYSTEMS={name}")
    return sentences


def models(repository: Repository, systems: Iterable[str]) -> list[str]:
    """Return the models that Triton must load.

    Loading a front ensemble also loads its steps, but not the network behind the option explain: a step calls that
    by name, and it may be missing.
    """
    explained = [system for system in systems if repository.network(system).explain.is_current]
    return [*(f"{system}_raw" for system in systems), *(f"{system}_explain" for system in explained)]


def check_shared_memory(
    needs: Mapping[str, Shm], processes: int | None = None, free_bytes: int | None = None
) -> None:
    """Raise if the Python steps could run out of shared memory during a request.

    Triton and its Python steps exchange tensors through shared memory that grows with their size and never
    shrinks. Data above the server's limit passes through it as well before a step rejects it.

    Parameters
    ----------
    needs : shared memory that the steps of each served system need at most
    processes : preprocess instances per system if the networks run on a GPU; None on the CPU
    free_bytes : free space of /dev/shm; None: measure it

    Raises
    ------
    ServerError
    """
    free = (overlay.free_bytes() if free_bytes is None else free_bytes) // 2**20
    mib = overlay.needed(needs, processes) // 2**20 if processes else sum(need.cpu for need in needs.values())
    if free < mib:
        raise ServerError(
            f"/dev/shm has {free} MiB free, {', '.join(needs)} need {mib} MiB to pass recordings "
            f"and spectrograms between their steps; enlarge it (mount -o remount,size={2 * mib}m /dev/shm; "
            f"docker run --shm-size={2 * mib}m)"
        )


def settle_ports(host: str, http: int, grpc: int, metrics: int) -> tuple[int, int, int]:
    """Return the ports to use: a free one for each 0.

    Raises
    ------
    ServerError
        If a port is taken or cannot be used.
    """
    flags = {"--http-port": http, "--grpc-port": grpc, "--metrics-port": metrics}
    settled = []
    with ExitStack() as stack:
        for flag, port in flags.items():
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore connections that were just closed
            try:
                sock.bind((host, port))
            except OSError as error:
                holder = _listener(port)
                why = f"is taken by {holder}" if holder else f"cannot be used: {error.strerror}"
                by_make = flag.removeprefix("--").replace("-", "_").upper()
                raise ServerError(
                    f"Port {port} on {host} {why}; stop that, or choose another with {flag} "
                    f"(make serve {by_make}=...)"
                ) from error
            settled.append(sock.getsockname()[1])
    return tuple(settled)


def _listener(port: int) -> str | None:
    """Return the name and id of the process that listens on a TCP port, if this user may see it."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(os.readlink(fd) in inodes for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return "another process" if inodes else None
