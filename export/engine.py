"""ONNX -> plan, with the builder of TensorRT or TensorRT-RTX.

Networks are strongly typed: every layer computes in the type that the graph declares. TensorRT 11 and TensorRT-RTX
support nothing else, and TensorRT 10.12 and later support it on request, so all of them are used in the same way:
the file determines the precision, and no precision flag of the builder is set. (By default both use TF32 for
float32 products on tensor cores.) A plan contains its weights. A TensorRT plan runs with the TensorRT version and
on the kind of GPU that built it; TensorRT-RTX also builds for GPUs that the machine does not have.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from export.errors import ExportError
from export.sources import Log
from server.backends.plan import LAST_ERRORS, make_logger
from systems.files import atomically

# The smallest shape, the one to optimise for, and the largest.
Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
# Input name -> shapes (TensorRT's optimization profile).
Profile = dict[str, Shapes]
# Called with the module and a builder's configuration; within the context, the builder builds for certain GPUs.
Target = Callable[[ModuleType, Any], AbstractContextManager[None]]


def read_profile(config: Path) -> Profile:
    """Read the shapes of the inputs, the batch first, from a model configuration.

    A free axis gets the sizes of the warm-up requests: the smallest, the median (the lower one of two) and the
    largest.

    Raises
    ------
    ExportError
        If there is no such file.
    """
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    if not config.is_file():
        raise ExportError(f"{config} is missing; it declares the shapes of the plan")
    model = text_format.Parse(config.read_text(encoding="utf-8"), ModelConfig())
    batches = (1, max(model.dynamic_batching.preferred_batch_size), model.max_batch_size)
    profile: Profile = {}
    for tensor in model.input:
        warm = [warmup.inputs[tensor.name].dims for warmup in model.model_warmup]
        axes = [
            _spread(sorted({dims[axis] for dims in warm})) if size < 0 else (size,) * 3
            for axis, size in enumerate(tensor.dims)
        ]
        least, fast, most = zip(batches, *axes, strict=True)
        profile[tensor.name] = least, fast, most
    return profile


def build(trt: ModuleType, onnx: Path, profile: Profile, target: Target, log_file: Path) -> bytes:
    """Build a plan; TensorRT takes minutes, TensorRT-RTX seconds.

    Parameters
    ----------
    trt : Python module of TensorRT, 10.12 or later, or of TensorRT-RTX
    onnx : network; its types are those of the plan
    profile : shapes of its inputs
    target : the GPUs to build for: `for_this_gpu`, or `for_rtx` of export/tensorrt_rtx.py
    log_file : file for the builder's messages

    Returns
    -------
    The plan

    Raises
    ------
    ExportError
        If the builder cannot parse or build the network; the message quotes the builder's.
    """
    errors: deque[str] = deque(maxlen=LAST_ERRORS)

    def refused(what: str, messages: Iterable[str]) -> ExportError:
        reasons = "; ".join(messages) or "it gives no reason"
        return ExportError(f"{title(trt)} {what} {onnx}: {reasons} (its log: {log_file})")

    with open(log_file, "w", encoding="utf-8", buffering=1) as file:  # the last line matters most if it crashes
        logger = make_logger(trt, errors, lambda line: file.write(f"{line}\n"))
        builder = trt.Builder(logger)
        network = builder.create_network(_creation_flags(trt))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(onnx)):
            problems = [parser.get_error(i) for i in range(parser.num_errors)]
            raise refused("cannot parse", [f"{each.node_operator()}: {each.desc()}" for each in problems])
        names = [network.get_input(i).name for i in range(network.num_inputs)]
        if set(names) != set(profile):
            raise ExportError(
                f"{onnx} takes {', '.join(names)}, the model configuration declares {', '.join(profile)};"
                " one of them belongs to another version of Tritone"
            )
        config = builder.create_builder_config()
        shapes = builder.create_optimization_profile()
        for name, (smallest, best, largest) in profile.items():
            shapes.set_shape(name, smallest, best, largest)
        if config.add_optimization_profile(shapes) < 0:
            raise refused(f"does not accept the shapes {profile} for", errors)
        with target(trt, config):
            plan = _interruptible(trt, builder, network, config)
            if plan is None:
                raise refused("could not build", errors)
        return bytes(plan)


def for_this_gpu(level: int, workspace: int, timings: Path, log: Log) -> Target:
    """Return a target that makes TensorRT build for the GPU of this machine.

    Parameters
    ----------
    level : how long to search for fast kernels, 0 to 5; TensorRT's own default is 3
    workspace : bytes of GPU memory that a single layer may use as workspace
    timings : file with the kernel timings of earlier builds, which is read and replaced
    log : reports when the timings cannot be used
    """

    @contextmanager
    def target(trt: ModuleType, config: Any) -> Iterator[None]:
        config.builder_optimization_level = level
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        cache = _read_timings(config, timings, log)
        yield
        with atomically(timings) as partial:
            partial.write_bytes(cache.serialize())

    return target


def title(trt: ModuleType) -> str:
    """Return the library's name and version, for messages."""
    return f"TensorRT{'-RTX' if 'rtx' in trt.__name__ else ''} {trt.__version__}"


def _interruptible(trt: ModuleType, builder: Any, network: Any, config: Any) -> Any:
    """Return the plan, or None; Ctrl-C stops TensorRT at its next step."""
    base: Any = trt.IProgressMonitor

    class Monitor(base):
        stopped = False

        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            pass

        def phase_finish(self, phase_name: str) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:
            return not self.stopped

    monitor = config.progress_monitor = Monitor()
    with ThreadPoolExecutor(1) as pool:  # only the main thread receives Ctrl-C
        try:
            return pool.submit(builder.build_serialized_network, network, config).result()
        finally:
            monitor.stopped = True


def timings_file(folder: Path, trt: ModuleType, gpu: str) -> Path:
    """Return the file for timings of this TensorRT on this kind of GPU; they are invalid for others."""
    key = hashlib.sha256(gpu.encode()).hexdigest()[:8]
    return folder / f"{trt.__version__}-{key}.timings"


def _creation_flags(trt: ModuleType) -> int:
    """Return the flag for strong typing: TensorRT 10 needs it, 11 ignores it and may drop its name."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _read_timings(config: Any, path: Path, log: Log) -> Any:
    """Pass the timings of earlier builds to the builder; an unusable file is replaced by an empty cache."""
    content = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        log(f"ignoring {path}: its timings are not of this TensorRT on this GPU")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _spread(sizes: list[int]) -> tuple[int, int, int]:
    return sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1]
