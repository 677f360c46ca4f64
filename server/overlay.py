"""As many processes that prepare recordings for a GPU as there are cores, whatever the configurations say.

A configuration is one for every machine, and Triton has no flag for how many instances a model has. Beside a GPU
it is the cores that limit: eight processes leave half of 16 idle, and crowd four. So Triton is given another
repository: links to the models, and of the steps that prepare a copy of the configuration with another count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from server.errors import ServerError
from systems.repository import Repository, configuration
from systems.system import PROCESSES, Shm

MOST, MOST_TOGETHER = 32, 64
"""Processes of a system, and of all: each has its own libraries in memory, and perhaps a context on the GPU."""
LEAST = 2
COUNT = re.compile(r"(?<=instance_group \[ \{ count: )\d+")


def fitting(needs: Mapping[str, Shm], cores: int, free: int) -> int:
    """How many processes prepare recordings for each system: one a core, fewer beside many or without room.

    Parameters
    ----------
    needs : of each system that will be served
    cores : that may be used
    free : bytes of /dev/shm
    """
    wanted = max(min(cores, MOST, MOST_TOGETHER // len(needs)), LEAST)
    return next((n for n in range(wanted, LEAST, -1) if needed(needs, n) <= free), LEAST)


def for_this_machine(needs: Mapping[str, Shm]) -> int:
    """`fitting` for the cores and the shared memory that are here."""
    return fitting(needs, len(os.sched_getaffinity(0)), free_bytes())


def free_bytes() -> int:
    """Of /dev/shm."""
    found = os.statvfs("/dev/shm")
    return found.f_bavail * found.f_frsize


def needed(needs: Mapping[str, Shm], processes: int) -> int:
    """Bytes of /dev/shm that this number of processes for each system takes at most, beside a GPU."""
    return sum(max(need.gpu * processes // PROCESSES, need.cpu) for need in needs.values()) * 2**20


def lay_out(repository: Repository, folder: Path, systems: list[str], variant: str, processes: int) -> None:
    """Fill a folder with links to the models of a repository, and the steps that prepare with another count.

    Parameters
    ----------
    folder : empty
    systems : whose steps are changed
    variant : by which Triton chooses configurations
    processes : instances of each of these steps

    Raises
    ------
    ServerError
        a configuration says nothing of its instances
    """
    changed = {repository.model(system, "preprocess") for system in systems}
    for model in filter(Path.is_dir, repository.path.iterdir()):
        shipped = configuration(model, variant)
        if model not in changed or not shipped.is_file():  # without one Triton takes config.pbtxt
            (folder / model.name).symlink_to(model.resolve())
            continue
        text, count = COUNT.subn(str(processes), shipped.read_text(encoding="utf-8"))
        if count != 1:
            raise ServerError(f"{shipped} has no line 'instance_group [ {{ count: ...'; run python -m systems")
        copy = folder / model.name
        (copy / "configs").mkdir(parents=True)
        for part in model.iterdir():
            if part.name != "configs":
                (copy / part.name).symlink_to(part.resolve())
        configuration(copy, variant).write_text(text, encoding="utf-8")
