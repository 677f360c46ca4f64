"""Describes the machine and its packages. A fact that cannot be determined is replaced by the error."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.gpu_check.check import Check
from bench.machine import machine, versions
from bench.perf import find_perf_analyzer
from server.gpu import find_gpu
from server.installation import find_libpython
from server.variants import ON_GPU, Machine, why_not
from systems.repository import Repository


def facts(check: Check) -> dict[str, Any]:
    """Return all facts by name."""
    return {name: _tried(find, check) for name, find in FACTS.items()}


def _tried(find: Callable[[Check], Any], check: Check) -> Any:
    try:
        return find(check)
    except Exception as error:  # of any kind: the check reports what is wrong with a machine
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _gpu(check: Check) -> dict[str, Any] | None:
    found = find_gpu()
    return asdict(found) if found else None


def _variants(check: Check) -> dict[str, str]:
    """Return why each variant cannot run, or "can run"."""
    here, models = Machine.here(), Repository(check.repository)
    return {name: why_not(name, here, models, [check.system]) or "can run" for name in ON_GPU}


def _torch(check: Check) -> str:
    import torch

    return f"{torch.__version__}, {'sees the GPU' if torch.cuda.is_available() else 'sees no GPU'}"


def _free_mib(folder: str) -> int:
    return shutil.disk_usage(folder).free >> 20


FACTS: dict[str, Callable[[Check], Any]] = {
    "gpu": _gpu,
    "variants": _variants,
    "torch": _torch,
    "machine": lambda check: machine(),
    "memory_mib": lambda check: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    "shm_mib": lambda check: _free_mib("/dev/shm"),
    "disk_mib": lambda check: _free_mib(str(Path.cwd())),
    "system": lambda check: f"{platform.platform()}, glibc {platform.libc_ver()[1]}",
    "python": lambda check: f"{platform.python_version()} of {sys.base_prefix}",
    "libpython": lambda check: str(find_libpython() or "found by the loader"),
    "perf_analyzer": lambda check: bool(find_perf_analyzer()),
    "versions": lambda check: versions(),
}
