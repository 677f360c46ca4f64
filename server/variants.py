"""Selects how the networks run on this machine: one model repository has several configurations of each network.

A variant is the name of a file `configs/<variant>.pbtxt` beside a network's `config.pbtxt`, selected with Triton's
--model-config-name. A network without that file uses `config.pbtxt`: ONNX Runtime, which runs everywhere.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.errors import ServerError
from server.gpu import Gpu, find_gpu
from systems import variants
from systems.repository import Plan, Repository, export_command
from systems.variants import RTX_LATER, RTX_TURING, VARIANTS

PORTABLE, OPENVINO, INT8 = (one.name for one in (variants.PORTABLE, variants.OPENVINO, variants.OPENVINO_INT8))
CUDA, TENSORRT, TENSORRT_RTX = (one.name for one in (variants.CUDA, variants.TENSORRT, variants.TENSORRT_RTX))
ON_GPU = tuple(name for name, variant in VARIANTS.items() if variant.on_gpu)

# CPU features with which OpenVINO computes in bfloat16, two (AVX512_BF16) to six times (AMX) as fast as ONNX
# Runtime in float32. Without them both are equally fast, and float32 is more exact.
BFLOAT16_FEATURES = {"amx_bf16": "AMX", "avx512_bf16": "AVX512_BF16"}
BINDINGS = ("tensorrt-cu12-bindings", "tensorrt-cu13-bindings", "tensorrt")  # distributions of TensorRT for Python
RTX_BINDINGS = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx")
RTX_CAPABILITIES = (*RTX_TURING, *RTX_LATER)
CUDA_PROVIDER = "libonnxruntime_providers_cuda.so"


@dataclass(frozen=True)
class Machine:
    """The properties of a machine that decide between the variants.

    Attributes
    ----------
    features : CPU features, in Linux's names
    openvino : whether OpenVINO is installed
    gpu : the GPU; None if there is none or it cannot be used
    onnxruntime_cuda : whether ONNX Runtime with its CUDA provider is installed; False without a GPU
    tensorrt, tensorrt_rtx : installed versions; None if not installed, and without a GPU
    """

    features: frozenset[str]
    openvino: bool
    gpu: Gpu | None = None
    onnxruntime_cuda: bool = False
    tensorrt: str | None = None
    tensorrt_rtx: str | None = None

    @classmethod
    def here(cls, backends: Path | None = None) -> Machine:
        """Return the properties of this machine.

        Parameters
        ----------
        backends : directory of Triton's C++ backends; None: the Python-based backends are used
        """
        features: frozenset[str] = frozenset()
        if platform.machine() == "x86_64":
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            features = frozenset(next((line for line in lines if line.startswith("flags")), "").split())
        openvino = (backends / "openvino").is_dir() if backends else _package("openvino") is not None
        gpu = find_gpu()
        if gpu is None:
            return cls(features, openvino)
        package = _package("onnxruntime")
        onnxruntime = backends / "onnxruntime" if backends else package and package / "capi"
        with_cuda = onnxruntime is not None and (onnxruntime / CUDA_PROVIDER).is_file()
        rtx = None if backends else version_of(RTX_BINDINGS)  # Triton has no C++ backend of that name
        return cls(features, openvino, gpu, with_cuda, version_of(BINDINGS), rtx)


def version_of(names: Iterable[str]) -> str | None:
    """Return the version of the first installed package, as in its `__version__`, without a slow import."""
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name).partition(".post")[0]
    return None


def choose(requested: str, machine: Machine, repository: Repository, systems: Iterable[str]) -> tuple[str, str]:
    """Select a variant.

    Parameters
    ----------
    requested : "auto" or the name of a variant
    repository : the model repository
    systems : systems to serve

    Returns
    -------
    variant, reason

    Raises
    ------
    ServerError
        If the requested variant cannot run here.
    """
    if requested != "auto":
        if problem := why_not(requested, machine, repository, systems):
            raise ServerError(problem)
        return requested, "as requested"
    if machine.gpu is None:
        return _choose_for_cpu(machine)
    rejected = ""
    for variant in (TENSORRT, TENSORRT_RTX, CUDA):
        problem = why_not(variant, machine, repository, systems)
        if problem is None:
            return variant, f"this machine has a GPU ({machine.gpu.name}){rejected}"
        rejected += f"; not {variant}: {problem}"
    variant, why = _choose_for_cpu(machine)
    return variant, why + rejected


def why_not(variant: str, machine: Machine, repository: Repository, systems: Iterable[str]) -> str | None:
    """Return why a variant cannot run here, in one sentence; None if it can."""
    if variant in (OPENVINO, INT8) and not machine.openvino:
        return f"Variant {variant} needs the package openvino; install it, or start with --variant onnxruntime"
    if variant in ON_GPU and machine.gpu is None:
        return (
            f"Variant {variant} needs an NVIDIA GPU, its driver and the package nvidia-ml-py; none was found. "
            "Check the output of nvidia-smi, or start with --variant auto"
        )
    if variant == CUDA and not machine.onnxruntime_cuda:
        return f"Variant {variant} needs the package onnxruntime-gpu in place of onnxruntime; install it: make gpu"
    if variant == TENSORRT and machine.tensorrt is None:
        return f"Variant {variant} needs the package tensorrt; install it: make gpu"
    if variant == TENSORRT_RTX and machine.gpu and machine.gpu.compute_capability not in RTX_CAPABILITIES:
        return (
            f"Variant {variant} is for GPUs of compute capability {', '.join(RTX_CAPABILITIES)}; this machine has"
            f" {machine.gpu.compute_capability} ({machine.gpu.name}); start with --variant auto"
        )
    if variant == TENSORRT_RTX and machine.tensorrt_rtx is None:
        return f"Variant {variant} needs TensorRT-RTX and the embedded server; install it: make gpu"
    for system in systems:
        network = repository.network(system)
        product = network.product(VARIANTS[variant])
        if product is network.onnx:  # `preflight` has checked it
            continue
        problem = product.why_not
        if not problem and machine.gpu and product is network.plan:
            problem = _why_unfit(network.plan, machine, machine.gpu)
        elif not problem and machine.gpu and product is network.rtx_plan:
            problem = _why_unfit_rtx(network.rtx_plan, machine, machine.gpu)
        if problem:
            return problem
    return None


def _why_unfit(plan: Plan, machine: Machine, gpu: Gpu) -> str | None:
    """Return why a machine with TensorRT and a GPU cannot run a plan, in one sentence; None if it can.

    A plan runs only with the TensorRT version that built it, and on GPUs of the compute capability it was built
    on.
    """
    system, made = plan.network.system, plan.description
    rebuild = f"rebuild it: {export_command('tensorrt', system)}"
    try:
        version, name, capability = made["tensorrt"], made["gpu"]["name"], made["gpu"]["compute_capability"]
    except (KeyError, TypeError):
        return _unknown(plan, rebuild)
    if (version, capability) == (machine.tensorrt, gpu.compute_capability):
        return None
    return (
        f"{system}: {plan.path.name} was built with TensorRT {version} for compute capability {capability}"
        f" ({name}), this machine has TensorRT {machine.tensorrt} and {gpu.compute_capability} ({gpu.name}); "
        f"{rebuild}"
    )


def _why_unfit_rtx(plan: Plan, machine: Machine, gpu: Gpu) -> str | None:
    """Return why a machine with TensorRT-RTX and a supported card cannot run a plan; None if it can."""
    system, made = plan.network.system, plan.description
    turing = " --turing" if gpu.compute_capability in RTX_TURING else ""
    rebuild = f"rebuild it: {export_command('tensorrt_rtx', system)}{turing}"
    try:
        version, capabilities = made["tensorrt_rtx"], list(made["compute_capabilities"])
    except (KeyError, TypeError):
        return _unknown(plan, rebuild)
    if version == machine.tensorrt_rtx and gpu.compute_capability in capabilities:
        return None
    return (
        f"{system}: {plan.path.name} was built with TensorRT-RTX {version} for compute capability"
        f" {', '.join(capabilities)}, this machine has TensorRT-RTX {machine.tensorrt_rtx} and "
        f"{gpu.compute_capability} ({gpu.name}); {rebuild}"
    )


def _unknown(plan: Plan, rebuild: str) -> str:
    return f"{plan.network.system}: {plan.report.name} does not say what built {plan.path.name}; {rebuild}"


def _choose_for_cpu(machine: Machine) -> tuple[str, str]:
    fast = [name for flag, name in BFLOAT16_FEATURES.items() if flag in machine.features]
    if not fast:
        return PORTABLE, "this CPU has neither AMX nor AVX512_BF16, so OpenVINO would gain nothing"
    if not machine.openvino:
        return PORTABLE, f"this CPU has {fast[0]}, but the package openvino, which would use it, is not installed"
    return OPENVINO, f"this CPU has {fast[0]}, with which OpenVINO computes in bfloat16"


def _package(name: str) -> Path | None:
    """Return the folder of a package without importing it; None if it is not installed."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None
