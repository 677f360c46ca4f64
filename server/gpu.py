"""The NVIDIA GPU of this machine, as its driver describes it through NVML."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """The GPU that CUDA would take as its first.

    Attributes
    ----------
    name : as the driver names it, "NVIDIA H200"
    compute_capability : "9.0"
    memory_bytes : all that it has
    driver : version of the driver, "580.65.06"
    """

    name: str
    compute_capability: str
    memory_bytes: int
    driver: str


def find_gpu() -> Gpu | None:
    """The first GPU that CUDA_VISIBLE_DEVICES leaves visible; None without one, its driver or nvidia-ml-py."""
    # CUDA would number the fastest as 0, the driver goes by the bus; so does CUDA from here on, in this process
    # and in those that it starts.
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
        else:  # a UUID; what is none ("", "-1") hides all GPUs, from NVML as from CUDA
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
