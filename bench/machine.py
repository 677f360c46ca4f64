"""Describes the machine and the versions of the packages, for the captions of figures."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import metadata
from pathlib import Path

VERSIONS = (
    "numpy",
    "scipy",
    "soundfile",
    "soxr",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "librosa",
)


def versions() -> dict[str, str]:
    """Return the versions of the installed packages; ONNX Runtime has one of two names."""
    found = {}
    for name in VERSIONS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> str:
    """Return processor, number of cores and matrix instructions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    matrix = [flag.upper() for flag in ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni") if flag in flags]
    cores = len(os.sched_getaffinity(0))
    return f"{name}, {cores} cores, {' '.join(matrix) or 'neither bfloat16 nor VNNI'}"
