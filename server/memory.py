"""What a running Triton holds in memory, and whether that is too much.

Triton's heap and the shared memory of its steps grow with the largest request and do not shrink: what a body of
300 MB, nested JSON or a tensor that claims a billion rows has taken would stay for ever. So the supervisor looks,
loads the step anew whose region is too large, and starts the server anew when all of it has grown by a margin, or
when heaps and stacks have grown by a quarter of it and nothing is asked: then that harms nobody.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from server.process import SHM, Stub, Triton
from systems.system import Shm

MIB = 1 << 20
CONSECUTIVE = 10  # looks, half a second apart, at which memory must be too large: what a request needs comes back


class Memory:
    """Compares what a server holds with what it held at its start.

    Parameters
    ----------
    margin : bytes by which it may grow
    needs : shared memory of the steps of each system
    """

    def __init__(self, margin: int, needs: dict[str, Shm]) -> None:
        self._needs = needs
        self._margin = margin
        self._start = self._private_start = 0
        self._over = 0

    def begin(self, triton: Triton) -> None:
        """Take what a server holds now, that it is warm, as its start."""
        # The first start counts: what is started anew is not warmed, and takes later what the first took then.
        self._start = self._start or held(triton)
        self._private_start = self._private_start or private(triton)
        self._over = 0

    def excess(self, triton: Triton, is_quiet: bool) -> str | None:
        """Why the server is to be started anew; None while it is not.

        Parameters
        ----------
        is_quiet : whether nothing has been asked for a while
        """
        now = held(triton)
        self._over = self._over + 1 if now > self._start + self._margin else 0
        if self._over >= CONSECUTIVE or now >= self._start + 2 * self._margin:
            return f"it uses {now // MIB} MiB of memory, {self._start // MIB} MiB after its start"
        if is_quiet and (kept := private(triton)) > self._private_start + self._margin // 4:
            return f"it is idle and still holds {(kept - self._private_start) // MIB} MiB of earlier requests"
        return None

    def too_large(self, stub: Stub) -> str | None:
        """Why a step is to be loaded anew; None while its shared memory is what good requests make it."""
        size = region_bytes(stub)
        system = stub.model.rpartition("_")[0]
        limit = self._needs[system].cpu * MIB // 2  # of two preprocess instances
        if size <= limit:
            return None
        return f"{stub.instance} holds {size // MIB} MiB of shared memory (limit {limit // MIB})"


def held(triton: Triton) -> int:
    """Bytes of the server and its stubs that no file backs, and of their shared memory."""
    return private(triton) + sum(region_bytes(stub) for stub in triton.stubs().values())


def private(triton: Triton) -> int:
    """Bytes of heaps and stacks of the server and its stubs."""
    return sum(anonymous_bytes(pid) for pid in (triton.pid, *triton.stubs()))


def anonymous_bytes(pid: int) -> int:
    """Resident memory of a process that no file backs: heap and stacks; 0 if it is gone."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0]) * 1024
    return 0


def region_bytes(stub: Stub) -> int:
    """What the shared memory of a stub takes; 0 if it is gone."""
    with suppress(OSError):
        return os.stat(SHM / stub.region).st_blocks * 512
    return 0
