"""Detects the NVIDIA GPU of this machine through its driver's NVML."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """CUDA's first GPU.

    Attributes
    ----------
    name : the driver's name of it, "NVIDIA H200"
    compute_capability : "9.0"
    memory_bytes : total memory
    driver : version of the driver, "580.65.06"
    """

    name: str
    compute_capability: str
    memory_bytes: int
    driver: str


def find_gpu() -> Gpu | None:
    """Return the first GPU in CUDA_VISIBLE_DEVICES; None without a GPU, its driver or nvidia-ml-py."""
    # By default CUDA numbers the fastest GPU as 0, while the driver numbers by PCI bus. Make CUDA do the same, in
    # this process and its children.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        if visible.isdecimal():
            device = pynvml.nvmlDeviceGetHandleByIndex(int(visible))
        else:  # a UUID; any other text ("", "-1") hides all GPUs, for NVML as for CUDA
            device = pynvml.nvmlDeviceGetHandleByUUID(visible)
        return Gpu(
            name=pynvml.nvmlDeviceGetName(device),
            compute_capability="{}.{}".format(*pynvml.nvmlDeviceGetCudaComputeCapability(device)),
            memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(device).total,
            driver=pynvml.nvmlSystemGetDriverVersion(),
        )
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
