"""Plans of TensorRT-RTX, which are built without a GPU for those of some compute capabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from export.engine import Target


def for_rtx(capabilities: Sequence[str]) -> Target:
    """Have TensorRT-RTX build one plan for GPUs of these compute capabilities: "8.6", "12.0", ...

    It chooses no kernels yet: it does that on the GPU that loads the plan, so there is nothing to time here.
    """

    @contextmanager
    def target(trt: ModuleType, config: Any) -> Iterator[None]:
        config.num_compute_capabilities = len(capabilities)
        for index, capability in enumerate(capabilities):
            name = f"SM{capability.replace('.', '')}"
            config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
        yield

    return target
