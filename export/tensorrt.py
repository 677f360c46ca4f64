"""`python -m export tensorrt`: TensorRT plans for variant `tensorrt`, exported network -> model.plan for this GPU.

Builds from the FP16 network, which it makes first if necessary, or from the INT8 or float32 network. The shapes
come from configs/tensorrt.pbtxt: 1 to max_batch_size rows, optimised for the largest preferred_batch_size; a free
axis has the lengths of the warm-up requests. plan.json records the source, the GPU, the versions and the
differences from ONNX Runtime. It is written last: a plan without it is not used.
"""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from export import command, derived, inputs
from export.engine import Profile, build, for_this_gpu, read_profile, timings_file
from export.errors import ExportError
from export.sources import Log
from server.backends.plan import Plan, load_cuda, load_tensorrt
from server.gpu import Gpu, find_gpu
from systems import System
from systems.repository import Network, Product, Repository, configuration, export_command
from systems.variants import PLAN_FILE, TENSORRT

# Version of the format of plan.json.
FORMAT = 1
# Precisions of the network that a plan is built from.
PRECISIONS = ("fp16", "int8", "fp32")
# The first TensorRT version that recommends strongly typed networks; 11 knows no others.
OLDEST = (10, 12)
INTERRUPT, INTERRUPTED = 130, "the former plan, if there was one, is unchanged"
CACHE = command.ROOT / ".cache" / "tensorrt"
# Share of the GPU's memory that one layer may use as workspace; the rest is for weights and activations.
WORKSPACE = 0.5
# Generated sounds that no weights were fitted to.
PARITY_SEED = 3000
PARITY_BATCHES = (1, 3, 8)
# Limit of the mean difference in probability: two runtimes add up one FP16 network in different orders.
MAX_DIFFERENCE = 1e-2
# Two labels whose probabilities differ by less than this may swap places.
TIE = 5e-2


def export(
    system: System,
    repository: Path,
    precision: str,
    *,
    level: int,
    trt: ModuleType,
    gpu: Gpu,
    cache: Path,
    force: bool,
    log: Log,
) -> bool:
    """Bring a system's plan up to date with its network, TensorRT and the GPU.

    Parameters
    ----------
    repository : folder of the models
    precision : "fp16", "int8" or "fp32"
    level : how long to search for fast kernels, 0 to 5
    trt : TensorRT's Python module
    gpu : the GPU to build for
    cache : folder of kernel timings
    force : rebuild a plan that is up to date, too

    Returns
    -------
    False if there was nothing to do

    Raises
    ------
    ExportError
        If there is no network to build from, another export is running, TensorRT cannot build the network, or its
        answers differ from ONNX Runtime's; the former plan is kept.
    """

    def describe(network: Network) -> derived.Description:
        shapes = read_profile(configuration(network.model, TENSORRT.name))
        source = source_of(network, precision)
        return {
            "format": FORMAT,
            "precision": precision,
            "level": level,
            "tensorrt": trt.__version__,
            "gpu": {"name": gpu.name, "compute_capability": gpu.compute_capability},
            **origin(source, shapes),
        }

    def make(network: Network, path: Path) -> derived.Description:
        source = source_of(network, precision).path
        profile = read_profile(configuration(network.model, TENSORRT.name))
        log(f"building with TensorRT {trt.__version__} for {gpu.name}; this takes minutes")
        start = time.monotonic()
        timings = timings_file(cache, trt, f"{gpu.name} {gpu.compute_capability}")
        target = for_this_gpu(level, int(WORKSPACE * gpu.memory_bytes), timings, log)
        plan = build(trt, source, profile, target, network.folder / f"{PLAN_FILE}.log")
        seconds = round(time.monotonic() - start, 1)
        path.write_bytes(plan)
        log("comparing with ONNX Runtime")
        figures = compare(system, source, path, profile, Plan)
        difference = figures["parity"]["max_probability_difference"]
        log(f"{len(plan) / 1e6:.0f} MB; largest difference in probability {difference:.1e}")
        return {
            "driver": gpu.driver,  # for information: a plan survives a change of the driver
            "seconds": seconds,
            **figures,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }

    return derived.derive(system, repository, "plan", describe, make, force=force, log=log)


def origin(source: Product, shapes: Profile) -> derived.Description:
    """Return the entries of a plan's report about its source network and its shapes."""
    return {
        "onnx": {key: source.description[key] for key in ("file", "sha256", "bytes")},
        "profile": {
            name: dict(zip(("min", "opt", "max"), map(list, sizes), strict=True)) for name, sizes in shapes.items()
        },
    }


def compare(system: System, onnx: Path, plan: Path, profile: Profile, kind: type[Plan]) -> dict[str, Any]:
    """Run a plan and its source network on generated recordings.

    Parameters
    ----------
    onnx : the network that the plan was built from
    plan : the plan
    profile : shapes of the plan
    kind : class of the plan

    Returns
    -------
    {"device_memory_bytes", "parity"}, for its report

    Raises
    ------
    ExportError
        If TensorRT cannot run the plan, or its answers differ from ONNX Runtime's.
    """
    import onnxruntime

    rows = [inputs.example_row(system, family, PARITY_SEED) for family in range(sum(PARITY_BATCHES))]
    ends = np.cumsum(PARITY_BATCHES)
    batches = [
        _padded(inputs.pad_batch(rows[end - size : end]), profile)
        for end, size in zip(ends, PARITY_BATCHES, strict=True)
    ]
    feeds = [dict(zip(profile, batch, strict=True)) for batch in batches]
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(["LOGITS"], batch)[0] for batch in feeds])
    try:
        with closing(kind(plan)) as engine:
            found = np.concatenate([engine.run(batch, ["LOGITS"])[0] for batch in feeds])
            memory = engine.device_memory
    except RuntimeError as error:
        raise ExportError(f"the plan of {system.name} does not run: {error}") from error
    figures = derived.agreement(expected, found, system.activation)
    difference = figures["mean_probability_difference"]
    changed = derived.clear_changes(expected, found, TIE, system.activation)
    if not difference <= MAX_DIFFERENCE or changed:
        raise ExportError(
            f"the probabilities of the plan of {system.name} differ from ONNX Runtime's by {difference:.2g} on "
            f"average (at most {MAX_DIFFERENCE:g} is accepted), and {changed} of {len(found)} rows get a clearly "
            "different answer (none is accepted); build it in float32: PRECISION=fp32 "
            f"{export_command('tensorrt', system.name)}"
        )
    runtime = f"onnxruntime {onnxruntime.__version__}"
    return {"device_memory_bytes": memory, "parity": {"runtime": runtime, "rows": len(found), **figures}}


def why_impossible(gpu: Gpu | None) -> str | None:
    """Return what is missing on this machine to build plans, with the remedy; None if nothing is."""
    if gpu is None:
        return (
            "there is no NVIDIA GPU here that its driver and the package nvidia-ml-py report; a plan must be built"
            " on the GPU that runs it"
        )
    try:
        trt = load_tensorrt()
    except (ImportError, OSError) as error:
        return f"TensorRT cannot be imported ({error}); install it: make gpu"
    if tuple(map(int, re.findall(r"\d+", trt.__version__)[:2])) < OLDEST:
        return f"TensorRT {trt.__version__} is too old, 10.12 or later is needed; install it: make gpu"
    try:
        cuda = load_cuda()
    except (ImportError, OSError) as error:
        return f"CUDA's runtime cannot be imported ({error}); install it: make gpu"
    status, *_ = cuda.cudaGetDeviceCount()
    if status != cuda.cudaError_t.cudaSuccess:
        _, text = cuda.cudaGetErrorString(status)
        return f"CUDA's runtime does not start with driver {gpu.driver} ({text.decode()}); update the driver"
    return None


def source_of(network: Network, precision: str) -> Product:
    """Return the network to build from.

    Raises
    ------
    ExportError
        If it is missing, or was not made from the present weights.
    """
    source = {"fp16": network.fp16, "int8": network.int8, "fp32": network.onnx}[precision]
    if source.why_not:
        raise ExportError(source.why_not)
    return source


def _padded(batch: inputs.Feeds, profile: Profile) -> inputs.Feeds:
    """Pad rows that are shorter than the shortest of the profile with zeros."""
    padded = []
    for array, (smallest, _, _) in zip(batch, profile.values(), strict=True):
        missing = np.maximum(0, np.array(smallest[1:]) - array.shape[1:])
        padded.append(np.pad(array, [(0, 0), *((0, n) for n in missing)]))
    return padded


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 2 after an error that the user can fix, or 130 when interrupted."""
    parser = command.Parser("tensorrt", "Build TensorRT plans, for python -m server --variant tensorrt.")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=os.environ.get("PRECISION") or None,
        help="default: the environment variable PRECISION, else the precision of the present plan, else fp16",
    )
    parser.add_argument(
        "--level", type=int, choices=range(6), default=3, help="how long to search for fast kernels; default 3"
    )
    parser.add_argument(
        "--if-possible",
        action="store_true",
        help="without a GPU, say so and succeed; without TensorRT, make only the FP16 networks (for variant cuda)",
    )
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help="folder of the kernel timings")
    args = parser.parse_args(arguments)
    if args.precision not in (None, *PRECISIONS):  # from the environment
        parser.error(f"PRECISION={args.precision} is not one of {', '.join(PRECISIONS)}")
    int8 = args.precision == "int8"
    systems = parser.choose(args, "int8" if int8 else "tensorrt", "has no INT8 network")
    gpu = find_gpu()
    why = why_impossible(gpu)
    if why and not (args.if_possible and gpu):
        if args.if_possible:
            print(f"skipping FP16 and TensorRT: {why}", flush=True)
            return 0
        print(f"export tensorrt: {why}", file=sys.stderr)
        return 2
    plans = {system.name: Repository(args.repository).network(system.name).plan for system in systems}
    # Without --precision, a plan keeps the precision that it has.
    precisions = {
        name: args.precision or plan.description.get("precision", "fp16") for name, plan in plans.items()
    }
    # FP16 networks first: variant cuda, which is served if a plan cannot be built, needs all of them.
    code = command.run(
        "export tensorrt",
        [system for system in systems if precisions[system.name] == "fp16"],
        lambda system, log: make_fp16(system, args.repository, log),
        INTERRUPTED,
    )
    if why:
        print(f"skipping TensorRT: {why}", flush=True)
    if why or code == INTERRUPT:
        return code
    trt = load_tensorrt()

    def work(system: System, log: Log) -> bool:
        precision = precisions[system.name]
        options = {"level": args.level, "trt": trt, "gpu": gpu, "cache": args.cache, "force": args.force}
        return export(system, args.repository, precision, **options, log=log)

    return max(code, command.run("export tensorrt", systems, work, INTERRUPTED))


def make_fp16(system: System, repository: Path, log: Log) -> bool:
    """Bring the FP16 network that a plan is built from up to date."""
    from export import fp16  # imports ONNX, which takes a second; other precisions do not need it

    return fp16.export(system, repository, fp16.HELD_OUT_ROWS, force=False, log=log)


if __name__ == "__main__":
    sys.exit(command.moved("tensorrt"))
