"""Loads the networks of the baselines: PyTorch, with the weights of the exported networks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench.baselines import BaselineError
from export import hub
from export.__main__ import DEMO, PACKAGES
from export.checkpoint import load_model
from export.files import sha256
from systems import SYSTEMS
from systems.repository import read_manifest

Array = npt.NDArray[np.float32]


def load_network(system: str, repository: Path) -> nn.Module:
    """Load the network of a system in float32, on the GPU if there is one.

    Parameters
    ----------
    system : name of the system, for example "vgg19_bn_cqt"
    repository : model repository with the exported network

    Raises
    ------
    BaselineError
        If the network has not been exported, or its checkpoint is missing.
    export.errors.ExportError
        If the checkpoint cannot be downloaded or read.
    """
    try:
        manifest = read_manifest(repository, system).content
    except ValueError as error:
        raise BaselineError(str(error)) from error
    path = _checkpoint(system, manifest["source"])
    network = load_model(path, SYSTEMS[system].architecture, manifest["output"]["classes"])
    return network.to("cuda" if torch.cuda.is_available() else "cpu")


def classify(network: nn.Module, rows: Array) -> Array:
    """Classify images, float32 [n, 3, 224, 224], in the network's precision; return float32 [n, classes]."""
    like = next(network.parameters())
    with torch.inference_mode():
        # In two steps: a single one would convert on the CPU before it copies.
        logits = network(torch.from_numpy(rows).to(like.device).to(like.dtype))
        return logits.float().softmax(1).cpu().numpy()


def _checkpoint(system: str, source: dict[str, str]) -> Path:
    """Return the file that a manifest's `source` names, if it is unchanged."""
    if source["origin"] == "hub":
        path = hub.download(source["location"], source["file"], source["revision"])
    elif source["origin"] == "demo":
        path = DEMO / source["file"]
    elif source["origin"] == "package":
        path = PACKAGES / system / "save.safetensors"
    else:  # the manifest contains only the name of the folder
        path = Path(os.environ.get("CHECKPOINTS", source["location"])) / source["file"]
    if not path.is_file():
        raise BaselineError(
            f"The weights that {system} was exported from, {path}, are missing; run make export,"
            " with CHECKPOINTS=dir for your own, and keep CHECKPOINTS set"
        )
    if sha256(path) != source["sha256"]:
        raise BaselineError(f"{path} is not what {system} was exported from (another SHA-256); run make export")
    return path
