"""On a machine with a GPU, runs as many preprocess instances as there are cores, whatever the configurations say.

A shipped configuration is the same for every machine, and Triton has no flag for the number of instances of a
model. With a GPU, the cores are the limit: eight processes leave half of 16 cores idle, and are too many for four.
So Triton gets another model repository: links to the models, and for the preprocess steps a copy of the
configuration with another count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from server.errors import ServerError
from systems.repository import Repository, configuration
from systems.system import PROCESSES, Shm

# Limits of the processes per system and in total: each holds its own libraries in memory, and perhaps a context on
# the GPU.
MAX_PROCESSES, MAX_TOTAL_PROCESSES = 32, 64
MIN_PROCESSES = 2
COUNT = re.compile(r"(?<=instance_group \[ \{ count: )\d+")


def fitting(needs: Mapping[str, Shm], cores: int, free: int) -> int:
    """Return the number of preprocess instances per system: one per core, fewer for many systems or little memory.

    Parameters
    ----------
    needs : shared memory that each served system needs
    cores : usable cores
    free : free bytes of /dev/shm
    """
    wanted = max(min(cores, MAX_PROCESSES, MAX_TOTAL_PROCESSES // len(needs)), MIN_PROCESSES)
    return next((n for n in range(wanted, MIN_PROCESSES, -1) if needed(needs, n) <= free), MIN_PROCESSES)


def for_this_machine(needs: Mapping[str, Shm]) -> int:
    """Return `fitting` for the cores and the shared memory of this machine."""
    return fitting(needs, len(os.sched_getaffinity(0)), free_bytes())


def free_bytes() -> int:
    """Return the free bytes of /dev/shm."""
    found = os.statvfs("/dev/shm")
    return found.f_bavail * found.f_frsize


def needed(needs: Mapping[str, Shm], processes: int) -> int:
    """Return the bytes of /dev/shm that this number of preprocess instances per system needs with a GPU."""
    return sum(max(need.gpu * processes // PROCESSES, need.cpu) for need in needs.values()) * 2**20


def lay_out(repository: Repository, folder: Path, systems: list[str], variant: str, processes: int) -> None:
    """Fill a folder with links to the models of a repository and with preprocess steps that have another count.

    Parameters
    ----------
    folder : empty folder
    systems : systems whose preprocess steps are changed
    variant : the variant, by which Triton selects configurations
    processes : instances of each of these steps

    Raises
    ------
    ServerError
        If a configuration does not declare its instances.
    """
    changed = {repository.model(system, "preprocess") for system in systems}
    for model in filter(Path.is_dir, repository.path.iterdir()):
        shipped = configuration(model, variant)
        if model not in changed or not shipped.is_file():  # without that file Triton uses config.pbtxt
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
