"""TensorRT plans, which variant `tensorrt` serves: an exported network -> model.plan, for this GPU and TensorRT.

`python -m export.tensorrt`: builds from the FP16 network, which it makes first where that is to be done, or from
the INT8 or the float32 one. Shapes come from configs/tensorrt.pbtxt: 1 to max_batch_size rows, fastest at the
largest preferred_batch_size; an axis of any length is as long as its warm-ups are. What was built, of what, where
and how close it is to ONNX Runtime stands in plan.json, which is written last: a plan without it does not count.
"""

from __future__ import annotations

import json
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
from export.engine import Profile, build, read_profile, timings_file
from export.errors import ExportError
from export.files import only_one, sha256
from export.sources import Log
from server.backends.plan import Plan, load_cuda, load_tensorrt
from server.gpu import Gpu, find_gpu
from server.plans import REPORT_FILE, export_command
from systems import System
from systems.files import atomically
from systems.manifest import NETWORK
from systems.variants import PLAN_FILE

FORMAT = 1
"""Of plan.json, for its readers."""
ENTRIES = {"fp16": "fp16", "int8": "int8", "fp32": "onnx"}
"""Precision -> entry of the manifest that describes the network it is built from."""
OLDEST = (10, 12)
"""TensorRT in which strongly typed networks are the recommended way, as they are the only one in 11."""
INTERRUPT, INTERRUPTED = 130, "the former plan, if there was one, is untouched"
CACHE = command.ROOT / ".cache" / "tensorrt"
WORKSPACE = 0.5
"""Part of the GPU's memory that one layer may work in; the rest is for weights and activations."""
PARITY_SEED = 3000
"""Generated sounds that no weights were fitted to."""
PARITY_BATCHES = (1, 3, 8)
MOST_DIFFERENCE = 1e-2
"""Of probabilities, in the mean over the rows: two runtimes on one FP16 file add in another order."""
TIE = 5e-2
"""Two labels whose probabilities are this near may change places."""


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
    cache : folder of timings
    force : also where nothing has changed

    Returns
    -------
    False where there was nothing to do

    Raises
    ------
    ExportError
        no network to build from, another export at work, a network that TensorRT does not take, or answers that
        differ from ONNX Runtime's; the former plan stays then
    """
    folder = repository / f"{system.name}_network" / "1"
    with only_one(folder.parent):
        source, made_from = _source(folder, system, precision)
        profile = read_profile(folder.parent / "configs" / "tensorrt.pbtxt")
        description = {
            "format": FORMAT,
            "file": PLAN_FILE,
            "precision": precision,
            "level": level,
            "tensorrt": trt.__version__,
            "gpu": {"name": gpu.name, "compute_capability": gpu.compute_capability, "driver": gpu.driver},
            "onnx": source,
            "made_from": made_from,
            "profile": {
                name: dict(zip(("min", "opt", "max"), map(list, shapes), strict=True))
                for name, shapes in profile.items()
            },
        }
        target, report = folder / PLAN_FILE, folder / REPORT_FILE
        if not force and _is_current(target, report, description):
            log(f"nothing to do: {target} was built from these weights")
            return False
        log(f"building with TensorRT {trt.__version__} for {gpu.name}; minutes")
        start = time.monotonic()
        plan = build(
            trt,
            folder / source["file"],
            profile,
            level=level,
            workspace=int(WORKSPACE * gpu.memory_bytes),
            timings=timings_file(cache, trt, f"{gpu.name} {gpu.compute_capability}"),
            log_file=folder / f"{PLAN_FILE}.log",
            log=log,
        )
        description["seconds"] = round(time.monotonic() - start, 1)
        with atomically(target) as partial:
            partial.write_bytes(plan)
            log("comparing with ONNX Runtime")
            description |= compare(system, folder / source["file"], partial, profile)
            report.unlink(missing_ok=True)  # it does not describe the plan that comes now
        description |= {
            "sha256": sha256(target),
            "bytes": len(plan),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        with atomically(report) as partial:
            partial.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        difference = description["parity"]["max_probability_difference"]
        log(f"{len(plan) / 1e6:.0f} MB; largest difference in probability {difference:.1e}")
    return True


def compare(system: System, onnx: Path, plan: Path, profile: Profile) -> dict[str, Any]:
    """Run a plan and the network that it was built from on generated recordings.

    Returns
    -------
    {"device_memory_bytes", "parity"}, for plan.json

    Raises
    ------
    ExportError
        TensorRT cannot run the plan, or answers otherwise than ONNX Runtime
    """
    import onnxruntime

    rows = [inputs.one(system, family, PARITY_SEED) for family in range(sum(PARITY_BATCHES))]
    ends = np.cumsum(PARITY_BATCHES)
    batches = [
        _padded(inputs.batch(rows[end - size : end]), profile)
        for end, size in zip(ends, PARITY_BATCHES, strict=True)
    ]
    feeds = [dict(zip(profile, batch, strict=True)) for batch in batches]
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(["LOGITS"], batch)[0] for batch in feeds])
    try:
        with closing(Plan(plan)) as engine:
            found = np.concatenate([engine.run(batch, ["LOGITS"])[0] for batch in feeds])
            memory = engine.device_memory
    except RuntimeError as error:
        raise ExportError(f"the plan of {system.name} does not run: {error}") from error
    figures = derived.agreement(expected, found)
    difference = figures["mean_probability_difference"]
    changed = derived.clear_changes(expected, found, TIE)
    if not difference <= MOST_DIFFERENCE or changed:
        raise ExportError(
            f"the plan of {system.name} is {difference:.2g} from ONNX Runtime in probability, in the mean, and"
            f" gives {changed} of {len(found)} rows clearly another label; at most {MOST_DIFFERENCE:g} and none"
            f" are accepted; build it in float32: PRECISION=fp32 {export_command('export.tensorrt', system.name)}"
        )
    runtime = f"onnxruntime {onnxruntime.__version__}"
    return {"device_memory_bytes": memory, "parity": {"runtime": runtime, "rows": len(found), **figures}}


def why_impossible(gpu: Gpu | None) -> str | None:
    """What is missing here to build plans, with the remedy; None where nothing is."""
    if gpu is None:
        return (
            "there is no NVIDIA GPU here that its driver and the package nvidia-ml-py show; plans are built on the"
            " GPU that runs them"
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
    error, *_ = cuda.cudaGetDeviceCount()
    if error != cuda.cudaError_t.cudaSuccess:
        _, text = cuda.cudaGetErrorString(error)
        return f"CUDA's runtime does not start with driver {gpu.driver} ({text.decode()}); update the driver"
    return None


def _source(folder: Path, system: System, precision: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What describes the network to build from, and the float32 one that it was made from."""
    manifest = derived.read_manifest(folder)
    weights = {"sha256": manifest.content[NETWORK]["sha256"]}
    entry = manifest.content.get(ENTRIES[precision], {})
    if precision != "fp32" and entry.get("made_from", {}).get("sha256") != weights["sha256"]:
        command_of = {"fp16": export_command("export.fp16", system.name), "int8": "make int8"}
        raise ExportError(
            f"{system.name} has no {precision.upper()} network of its present weights; run {command_of[precision]}"
        )
    path = folder / entry["file"]
    if not path.is_file() or path.stat().st_size != entry["bytes"]:
        raise ExportError(f"{path} is not the file that manifest.json describes; export it again with --force")
    return {key: entry[key] for key in ("file", "sha256", "bytes")}, weights


def _is_current(plan: Path, report: Path, description: dict[str, Any]) -> bool:
    """Whether a plan is whole and is what `description` describes; a driver may change under it."""
    try:
        made = json.loads(report.read_text(encoding="utf-8"))
        made["gpu"]["driver"] = description["gpu"]["driver"]
        return made["bytes"] == plan.stat().st_size and all(made[key] == description[key] for key in description)
    except (OSError, ValueError, KeyError):
        return False


def _padded(batch: inputs.Feeds, profile: Profile) -> inputs.Feeds:
    """Zeros behind rows that are shorter than the profile's shortest."""
    padded = []
    for array, (smallest, _, _) in zip(batch, profile.values(), strict=True):
        missing = np.maximum(0, np.array(smallest[1:]) - array.shape[1:])
        padded.append(np.pad(array, [(0, 0), *((0, n) for n in missing)]))
    return padded


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns 0, 2 after an error that the user can mend, or 130 when interrupted."""
    parser = command.Parser(
        "python -m export.tensorrt",
        "Build TensorRT plans of the exported networks, for python -m server --variant tensorrt.",
    )
    parser.add_argument(
        "--precision",
        choices=tuple(ENTRIES),
        default=os.environ.get("PRECISION") or None,
        help="default: the environment variable PRECISION, else that of the present plan, else fp16",
    )
    parser.add_argument(
        "--level", type=int, choices=range(6), default=3, help="how long to search for fast kernels; default 3"
    )
    parser.add_argument(
        "--if-possible",
        action="store_true",
        help="without a GPU say so and succeed; without TensorRT make the FP16 networks alone, for variant cuda",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=CACHE,
        metavar="DIR",
        help="where timings of kernels are kept for the next time",
    )
    args = parser.parse_args(arguments)
    if args.precision not in (None, *ENTRIES):  # of the environment
        parser.error(f"PRECISION={args.precision} is none of {', '.join(ENTRIES)}")
    int8 = args.precision == "int8"
    systems = parser.choose(args, lambda system: system.task.has_pictures or not int8, "has no INT8 network")
    gpu = find_gpu()
    why = why_impossible(gpu)
    if why and not (args.if_possible and gpu):
        if args.if_possible:
            print(f"FP16 and TensorRT are left out: {why}", flush=True)
            return 0
        print(f"export.tensorrt: {why}", file=sys.stderr)
        return 2
    precisions = {each.name: args.precision or _present_precision(args.repository, each.name) for each in systems}
    # Before the plans: variant cuda, which serves where one of them cannot be built, needs all of them.
    code = command.run(
        "export.tensorrt",
        [system for system in systems if precisions[system.name] == "fp16"],
        lambda system, log: make_fp16(system, args.repository, log),
        INTERRUPTED,
    )
    if why:
        print(f"TensorRT is left out: {why}", flush=True)
    if why or code == INTERRUPT:
        return code
    trt = load_tensorrt()

    def work(system: System, log: Log) -> bool:
        precision = precisions[system.name]
        options = {"level": args.level, "trt": trt, "gpu": gpu, "cache": args.cache, "force": args.force}
        return export(system, args.repository, precision, **options, log=log)

    return max(code, command.run("export.tensorrt", systems, work, INTERRUPTED))


def make_fp16(system: System, repository: Path, log: Log) -> bool:
    """The FP16 network that a plan is built from, if it is not there."""
    from export import fp16  # ONNX: a second to import, and not needed by the other precisions

    return fp16.export(system, repository, fp16.HELD_OUT_ROWS, force=False, log=log)


def _present_precision(repository: Path, system: str) -> str:
    """That of the plan which is there: a choice made once is kept. Else FP16."""
    try:
        report = (repository / f"{system}_network" / "1" / REPORT_FILE).read_text(encoding="utf-8")
        return json.loads(report)["precision"]
    except (OSError, ValueError, KeyError):
        return "fp16"


if __name__ == "__main__":
    sys.exit(main())
