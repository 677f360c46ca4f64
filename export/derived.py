"""What is made of an exported network and lies beside it, in other precisions: the manifest vouches for each.

A derived network belongs to one float network: the entry of the manifest that describes it names the SHA-256 of
what it was made from. The entry is taken away before the file is replaced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from export import inputs
from export.errors import ExportError
from export.files import only_one, sha256
from export.sources import Log
from systems import System
from systems.files import atomically
from systems.manifest import NETWORK, Manifest

Logits = npt.NDArray[np.float32]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the whole float network in `folder`.

    Raises
    ------
    ExportError
        there is none
    """
    manifest = Manifest.find(folder)
    if manifest is None or not manifest.vouches_for():
        raise ExportError(f"there is no exported network in {folder}; run make export")
    return manifest


def is_current(manifest: Manifest, entry: str, method: int) -> bool:
    """Whether a derived network is whole, made from the float one beside it, and in today's way."""
    return manifest.vouches_for(entry) and manifest.content[entry].get("method") == method


def derive(
    system: System,
    repository: Path,
    entry: str,
    file: str,
    method: int,
    make: Callable[[Manifest], tuple[bytes, dict[str, Any]]],
    *,
    force: bool,
    log: Log,
) -> bool:
    """Bring what is made of a system's float network up to date with it.

    Parameters
    ----------
    repository : folder of the models
    entry, file, method : of the manifest; where it is written, as seen from model.onnx; the way of making it
    make : the network, and what the manifest says of it; raises `ExportError` where it is not good enough
    force : also where nothing has changed

    Returns
    -------
    False where there was nothing to do

    Raises
    ------
    ExportError
        no float network, another export at work, or what `make` raises; nothing is written then
    """
    with only_one(repository / f"{system.name}_network"):
        manifest = read_manifest(repository / f"{system.name}_network" / "1")
        if not force and is_current(manifest, entry, method):
            log(f"nothing to do: {file} was made from these weights")
            return False
        network, figures = make(manifest)
        replace(manifest, entry, file, network, method=method, **figures)
    return True


def replace(manifest: Manifest, entry: str, file: str, network: bytes, **figures: Any) -> None:
    """Write a derived network, and then what is known of it into the manifest."""
    target, content = manifest.folder / file, manifest.content
    with atomically(target) as partial:
        partial.write_bytes(network)
        if content.pop(entry, None):  # it does not describe the file that comes now
            manifest.write()
    content[entry] = {
        "file": file,
        "sha256": sha256(target),
        "bytes": len(network),
        "made_from": {key: content[NETWORK][key] for key in ("sha256", "bytes")},
        **figures,
    }
    manifest.write()


def generated(system: System, first_seed: int, rows: int) -> list[inputs.Feeds]:
    """So many rows of generated sounds as batches: pictures of every profile by eights, waveforms one by one."""
    if not system.spectrum:
        families = len(system.labels)
        jobs = [(first_seed + row // families, row % families) for row in range(rows)]
        return [inputs.one(system, family, seed) for seed, family in jobs]
    from export import demo  # PyTorch: seconds to import, and not needed before

    per_seed = demo.CLASSES * len(system.profiles)
    pictures = demo.rows(system, range(first_seed, first_seed + math.ceil(rows / per_seed)))[0][:rows]
    return [[batch] for batch in batches(pictures, 8)]


def batches(rows: npt.NDArray[Any], size: int) -> Iterator[npt.NDArray[Any]]:
    """Cut rows into batches of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def agreement(expected: Logits, found: Logits) -> dict[str, float]:
    """How often two networks give the same label, and how far their probabilities are apart.

    Parameters
    ----------
    expected, found : float32 [n, classes], logits

    Returns
    -------
    {"agreement", "max_probability_difference", "mean_...", "median_..."}; a row's difference is that of the class
    where it is largest
    """
    one, other = (softmax(logits.astype(np.float64), axis=1) for logits in (expected, found))
    difference = np.abs(other - one).max(1)
    return {
        "agreement": float((found.argmax(1) == expected.argmax(1)).mean()),
        "max_probability_difference": float(difference.max()),
        "mean_probability_difference": float(difference.mean()),
        "median_probability_difference": float(np.median(difference)),
    }


def clear_changes(expected: Logits, found: Logits, tie: float) -> int:
    """How many rows get another label although `expected` prefers its own by more than a tie.

    Parameters
    ----------
    expected, found : float32 [n, classes], logits
    tie : difference of the two highest probabilities, below which either label may come first
    """
    margins = np.diff(np.sort(softmax(expected.astype(np.float64), axis=1))[:, -2:]).ravel()
    return int(((found.argmax(1) != expected.argmax(1)) & (margins > tie)).sum())
