"""`python -m export tensorrt_rtx`: TensorRT-RTX plans for variant `tensorrt_rtx`, FP16 network -> model.rtx.plan.

TensorRT-RTX builds in seconds and without a GPU; the kernels are selected on the card that loads the plan. One
plan serves all cards of compute capability 8.6 and later; cards of 7.5 (Turing), for which TensorRT-RTX has no
float32 products, need their own plan: --turing. The shapes come from configs/tensorrt_rtx.pbtxt, as for TensorRT.
plan.rtx.json records the source and the target and, if this machine's card can run the plan, the differences from
ONNX Runtime.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

from export import command, derived
from export.engine import Target, build, read_profile, title
from export.errors import ExportError
from export.sources import Log
from export.tensorrt import INTERRUPTED, compare, make_fp16, origin, source_of
from server.backends.plan import RtxPlan, load_cuda, load_tensorrt_rtx
from server.gpu import Gpu, find_gpu
from systems import System
from systems.repository import Network, configuration
from systems.variants import RTX_CACHE_FILE, RTX_LATER, RTX_PLAN_FILE, RTX_TURING, TENSORRT_RTX

# Version of the format of plan.rtx.json.
FORMAT = 1
PRECISION = "fp16"


def export(
    system: System,
    repository: Path,
    capabilities: Sequence[str],
    *,
    trt: ModuleType,
    gpu: Gpu | None,
    force: bool,
    log: Log,
) -> bool:
    """Bring a system's plan up to date with its FP16 network and TensorRT-RTX.

    Parameters
    ----------
    repository : folder of the models
    capabilities : compute capabilities to build for: "8.6", "12.0", ...
    trt : TensorRT-RTX's Python module
    gpu : GPU of this machine; the plan is compared with ONNX Runtime on it if it has one of the capabilities
    force : rebuild a plan that is up to date, too

    Returns
    -------
    False if there was nothing to do

    Raises
    ------
    ExportError
        If there is no network to build from, another export is running, TensorRT-RTX cannot build the network, or
        its answers differ from ONNX Runtime's; the former plan is kept.
    """

    def describe(network: Network) -> derived.Description:
        shapes = read_profile(configuration(network.model, TENSORRT_RTX.name))
        return {
            "format": FORMAT,
            "precision": PRECISION,
            "tensorrt_rtx": trt.__version__,
            "compute_capabilities": list(capabilities),
            **origin(source_of(network, PRECISION), shapes),
        }

    def make(network: Network, path: Path) -> derived.Description:
        source = source_of(network, PRECISION).path
        profile = read_profile(configuration(network.model, TENSORRT_RTX.name))
        log(f"building with {title(trt)} for compute capability {', '.join(capabilities)}")
        start = time.monotonic()
        try:
            plan = build(trt, source, profile, for_rtx(capabilities), network.folder / f"{RTX_PLAN_FILE}.log")
        except ExportError as error:
            if capabilities != RTX_TURING:
                raise
            raise ExportError(f"{error}; serve it as variant cuda on such cards") from error
        seconds = round(time.monotonic() - start, 1)
        path.write_bytes(plan)
        log(f"{len(plan) / 1e6:.0f} MB")
        why = why_incomparable(gpu, capabilities)
        log(f"not compared with ONNX Runtime: {why}" if why else "comparing with ONNX Runtime")
        compiled, kept = path.with_suffix(".cache"), network.folder / RTX_CACHE_FILE
        try:
            figures = {} if why else compare(system, source, path, profile, RtxPlan)
            kept.unlink(missing_ok=True)  # belongs to the former plan
            if compiled.is_file():
                compiled.replace(kept)
        finally:
            compiled.unlink(missing_ok=True)
        return {
            "seconds": seconds,
            **figures,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }

    return derived.derive(system, repository, "rtx_plan", describe, make, force=force, log=log)


def for_rtx(capabilities: Sequence[str]) -> Target:
    """Return a target that makes TensorRT-RTX build for GPUs of these compute capabilities: "8.6", "12.0", ...

    There are no timings to store and no workspace to limit: kernels are selected on the GPU that loads the plan.
    """

    @contextmanager
    def target(trt: ModuleType, config: Any) -> Iterator[None]:
        config.num_compute_capabilities = len(capabilities)
        for index, capability in enumerate(capabilities):
            name = f"SM{capability.replace('.', '')}"
            config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
        yield

    return target


def why_incomparable(gpu: Gpu | None, capabilities: Sequence[str]) -> str | None:
    """Return why a plan for these compute capabilities cannot run on this machine; None if it can."""
    if gpu is None or gpu.compute_capability not in capabilities:
        return f"there is no GPU of compute capability {' or '.join(capabilities)} here"
    try:
        load_cuda()
    except (ImportError, OSError) as error:
        return f"CUDA's runtime cannot be imported ({error}); install it: make gpu"
    return None


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 2 after an error that the user can fix, or 130 when interrupted."""
    parser = command.Parser(
        "tensorrt_rtx",
        "Build TensorRT-RTX plans, for python -m server --variant tensorrt_rtx; needs no GPU.",
    )
    parser.add_argument(
        "--turing",
        action="store_true",
        help=f"build for cards of compute capability {RTX_TURING[0]} instead of {', '.join(RTX_LATER)};"
        " the default on a machine with such a card",
    )
    args = parser.parse_args(arguments)
    systems = parser.choose(args, "tensorrt_rtx")
    try:
        trt = load_tensorrt_rtx()
    except (ImportError, OSError) as error:
        print(
            f"export tensorrt_rtx: TensorRT-RTX cannot be imported ({error}); install it: make tensorrt_rtx",
            file=sys.stderr,
        )
        return 2
    gpu = find_gpu()
    turing = args.turing or bool(gpu and gpu.compute_capability in RTX_TURING)

    def work(system: System, log: Log) -> bool:
        make_fp16(system, args.repository, log)
        capabilities = RTX_TURING if turing else RTX_LATER
        return export(system, args.repository, capabilities, trt=trt, gpu=gpu, force=args.force, log=log)

    return command.run("export tensorrt_rtx", systems, work, INTERRUPTED)


if __name__ == "__main__":
    sys.exit(command.moved("tensorrt_rtx"))
