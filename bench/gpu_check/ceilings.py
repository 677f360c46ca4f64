"""Measures the limits of the GPU with PyTorch: products and convolutions in float16, copies, a kernel launch."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from bench.gpu_check.check import Check

SIZE = 8192  # side of the matrices that are multiplied
ROW_FLOATS = 3 * 224 * 224  # values of an image


def ceilings(check: Check) -> dict[str, float]:
    """Return TFLOP/s of a product and of a convolution like VGG's, GB/s of copies to the GPU, us of a launch."""
    import torch

    torch.backends.cudnn.benchmark = True
    half = {"device": "cuda", "dtype": torch.float16}
    found: dict[str, float] = {}
    a, b = (torch.randn(SIZE, SIZE, **half) for _ in range(2))
    found["product_tflops"] = 2 * SIZE**3 / _seconds(lambda: a @ b, 20) / 1e12
    pictures, filters = torch.randn(32, 256, 56, 56, **half), torch.randn(256, 256, 3, 3, **half)
    operations = 2 * 32 * 56 * 56 * 256 * 256 * 9
    for name, layout in (("nchw", torch.contiguous_format), ("nhwc", torch.channels_last)):
        x, w = (tensor.to(memory_format=layout) for tensor in (pictures, filters))
        taken = _seconds(partial(torch.nn.functional.conv2d, x, w, padding=1), 50)
        found[f"convolution_{name}_tflops"] = operations / taken / 1e12
    for rows in (1, 32):
        pageable = torch.rand(rows * ROW_FLOATS)
        there = torch.empty_like(pageable, device="cuda")
        for name, here in (("pageable", pageable), ("page_locked", pageable.pin_memory())):
            taken = _seconds(partial(there.copy_, here, non_blocking=True), 50)
            found[f"copy_{rows}_{name}_gb_s"] = 4 * rows * ROW_FLOATS / taken / 1e9
    one = torch.ones(1, device="cuda")
    found["launch_us"] = _seconds(lambda: one.add_(1), 2000) * 1e6
    return {name: round(value, 2) for name, value in found.items()}


def _seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the mean seconds of a call after a warm-up."""
    import torch

    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats
