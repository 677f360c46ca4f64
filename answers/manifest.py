"""The manifest that `export` leaves beside each network, as the steps want it."""

from __future__ import annotations

from pathlib import Path

from systems.manifest import FILE, Manifest


def read_manifest(step_dir: Path, system: str) -> Manifest:
    """Read and check the manifest of the network beside a step.

    Parameters
    ----------
    step_dir : folder of the Python step in the model repository
    system : name of the system, "vgg19_bn_cqt"

    Raises
    ------
    FileNotFoundError, ValueError
        no manifest, or one that does not fit this server; Triton then refuses to load the step
    """
    folder = step_dir.parent / f"{system}_network" / "1"
    path = folder / FILE
    try:
        manifest = Manifest.read(folder)
        problem = manifest.problem(system)
    except FileNotFoundError:
        raise FileNotFoundError(f"{system} has no weights ({path} is missing): run make export") from None
    except ValueError as error:
        problem = f"it is damaged ({error})"
    if problem:
        raise ValueError(f"{path} does not fit this server: {problem}; run make export")
    return manifest
