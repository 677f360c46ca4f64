"""Networks made of the exported one: whether they belong to it and can run here, told before Triton tries them.

FP16 and INT8 networks, and those that explain answers, are vouched for by an entry of manifest.json, TensorRT
plans by plan.json beside them, which `export.tensorrt` writes last. A plan runs only with the TensorRT that built
it, on GPUs of the compute capability that it was built on.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from server.gpu import Gpu
from systems.manifest import NETWORK, Manifest
from systems.variants import PLAN_FILE

REPORT_FILE = "plan.json"


def is_made(folder: Path, entry: str) -> bool:
    """Whether the network that an entry of the manifest describes is there, whole and of the present weights.

    Parameters
    ----------
    folder : of the network that it was made of, `<repository>/<system>_network/1`
    entry : "fp16", "int8" or "explain"
    """
    manifest = Manifest.find(folder)
    return manifest is not None and manifest.vouches_for(entry)


def models(repository: Path, systems: list[str]) -> list[str]:
    """The models that Triton is told to load.

    The front ensembles bring their steps along, but not the networks that explain: a step calls those by name, and
    they may be missing.
    """
    explained = [system for system in systems if is_made(repository / f"{system}_network" / "1", "explain")]
    return [*(f"{system}_raw" for system in systems), *(f"{system}_explain" for system in explained)]


def why_stale(folder: Path, system: str, precision: str, command: str) -> str | None:
    """Why a system has no network of another precision, made of its present weights, in one sentence; None if so.

    Parameters
    ----------
    folder : that holds the networks, `<repository>/<system>_network/1`
    precision : "fp16" or "int8"
    command : that makes it
    """
    if is_made(folder, precision):
        return None
    repository, name = folder.parents[1], precision.upper()
    return f"{system} has no {name} network of its present weights in {repository}: run {command}"


def why_unfit(folder: Path, system: str, tensorrt: str, gpu: Gpu) -> str | None:
    """Why the plan of a system cannot run here, in one sentence with the command that mends it; None if it can.

    Parameters
    ----------
    folder : that holds the plan, `<repository>/<system>_network/1`
    tensorrt : version that is installed, whole: "11.4.0.106"
    gpu : that it would run on
    """
    command = export_command("export.tensorrt", system)
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        whole = (folder / PLAN_FILE).stat().st_size == report["bytes"]
        made_from = report["made_from"]["sha256"]
        version, capability, name = report["tensorrt"], report["gpu"]["compute_capability"], report["gpu"]["name"]
        weights = Manifest.read(folder).content[NETWORK]["sha256"]
    except FileNotFoundError:
        return f"{system} has no {PLAN_FILE}; build it: {command}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{system}: {REPORT_FILE} or manifest.json cannot be read; rebuild {PLAN_FILE}: {command}"
    if not whole:
        return f"{system}: {PLAN_FILE} is not the file that {REPORT_FILE} describes; rebuild it: {command}"
    if made_from != weights:
        return f"{system}: {PLAN_FILE} was built from other weights than the present ones; rebuild it: {command}"
    if (version, capability) != (tensorrt, gpu.compute_capability):
        return (
            f"{system}: {PLAN_FILE} was built with TensorRT {version} for compute capability {capability} ({name})"
            f", here are TensorRT {tensorrt} and {gpu.compute_capability} ({gpu.name}); rebuild it: {command}"
        )
    return None


def export_command(module: str, system: str) -> str:
    """What the user types to run a module of export; in the image one command makes everything."""
    return f"{os.environ.get('TRITONE_EXPORT_COMMAND', f'python -m {module}')} {system}"
