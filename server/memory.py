"""Measures the memory of a running Triton and decides when it is too much.

Triton's heap and the shared memory of its steps grow with the largest request and never shrink: the memory for a
body of 300 MB, nested JSON or a tensor that claims a billion rows would be held forever. Therefore the supervisor
reloads a step whose shared memory is too large. It restarts the server when its total memory has grown by a
margin, or when heaps and stacks have grown by a quarter of the margin and the server is idle, so that no request
is lost.
"""

from __future__ import annotations

import os
from contextlib import suppress

from server.process import SHM, Stub, Triton
from systems.system import Shm

MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes
CONSECUTIVE = 10  # checks, half a second apart, that must exceed the limit: memory of a single request is returned


class Memory:
    """Compares the memory of a server with its memory after the start.

    Parameters
    ----------
    margin : bytes by which it may grow
    needs : shared memory that the steps of each system need
    """

    def __init__(self, margin: int, needs: dict[str, Shm]) -> None:
        self._needs = needs
        self._margin = margin
        self._start = self._private_start = 0
        self._over = 0

    def begin(self, triton: Triton) -> None:
        """Record the memory of a server that has just become ready as its baseline."""
        # Only the first start counts: a restarted server is not warmed and takes the same memory later.
        self._private_start = self._private_start or private_bytes(triton)
        self._start = self._start or private_bytes(triton) + shared_bytes(triton)
        self._over = 0

    def excess(self, triton: Triton, is_quiet: bool) -> str | None:
        """Return why the server must be restarted, or None.

        Parameters
        ----------
        is_quiet : whether no client has sent a request for a while
        """
        private = private_bytes(triton)
        now = private + shared_bytes(triton)
        self._over = self._over + 1 if now > self._start + self._margin else 0
        if self._over >= CONSECUTIVE or now >= self._start + 2 * self._margin:
            return f"it uses {now // MIB} MiB of memory, {self._start // MIB} MiB after its start"
        if is_quiet and private > self._private_start + self._margin // 4:
            return f"it is idle and still holds {(private - self._private_start) // MIB} MiB of earlier requests"
        return None

    def too_large(self, stub: Stub) -> str | None:
        """Return why the step of a stub must be reloaded, or None; valid requests stay below the limit."""
        size = region_bytes(stub)
        system = stub.model.rpartition("_")[0]
        limit = self._needs[system].cpu * MIB // 2  # the need is that of two preprocess instances
        if size <= limit:
            return None
        return f"{stub.instance} holds {size // MIB} MiB of shared memory (limit {limit // MIB})"


def shared_bytes(triton: Triton) -> int:
    """Return the shared memory of the stubs in bytes."""
    return sum(map(region_bytes, triton.stubs().values()))


def private_bytes(triton: Triton) -> int:
    """Return the memory of heaps and stacks of the server and its stubs, in bytes."""
    return sum(anonymous_bytes(pid) for pid in (triton.pid, *triton.stubs()))


def anonymous_bytes(pid: int) -> int:
    """Return the resident anonymous memory of a process (heap and stacks) in bytes; 0 if it has exited."""
    with suppress(OSError, ValueError):
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:  # a fraction of the time of /proc/<pid>/status
            _, resident, shared, *_ = file.read().split()
        return (int(resident) - int(shared)) * PAGE
    return 0


def region_bytes(stub: Stub) -> int:
    """Return the size of the shared memory of a stub in bytes; 0 if it has been removed."""
    with suppress(OSError):
        return os.stat(f"{SHM}/{stub.region}").st_blocks * 512
    return 0
