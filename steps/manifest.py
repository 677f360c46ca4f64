"""The manifest that `export` leaves beside each network: what its inputs and outputs mean."""

from __future__ import annotations

import json
import math
from pathlib import Path

from preprocess import PROFILES

FORMAT = 1
MADE: dict[str, tuple[tuple, dict]] = {
    **dict.fromkeys(PROFILES, (("cqt", "mel"), {"name": "ROWS", "shape": [3, 224, 224]})),
    "emotion2vec": ((None,), {"name": "WAV", "shape": [-1]}),
}
"""Profile -> the spectra that it knows, and what it makes for the network."""


def read_manifest(step_dir: Path, system: str) -> dict:
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
    path = step_dir.parent / f"{system}_network" / "1" / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{system} has no weights ({path} is missing): run make export")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        problem = _problem(manifest, system)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        problem = f"it is damaged ({type(error).__name__}: {error})"
    if problem:
        raise ValueError(f"{path} does not fit this server: {problem}; run make export")
    return manifest


def _problem(manifest: dict, system: str) -> str | None:
    """What is wrong with a manifest, or None."""
    if manifest.get("format") != FORMAT:
        return f"its format is {manifest.get('format')}, not {FORMAT}"
    if manifest["system"] != system:
        return f"it describes {manifest['system']}, not {system}"
    if manifest["profile"] not in list(MADE):
        return f"its profile {manifest['profile']!r} is not one of {', '.join(MADE)}"
    spectra, made = MADE[manifest["profile"]]
    if manifest["spectrum"] not in spectra:
        return f"its spectrum {manifest['spectrum']!r} is not one of {', '.join(map(str, spectra))}"
    if manifest["input"] != made:
        return f"the network takes {manifest['input']}, profile {manifest['profile']} makes {made}"
    classes, labels = manifest["output"]["classes"], len(manifest["labels"])
    if classes != labels:
        return f"the network has {classes} outputs but {labels} labels"
    for level in manifest.get("levels", []):
        members = level["members"]
        if len(members) != classes or not all(0 <= m < len(level["labels"]) for m in members):
            return f"level {level['name']} does not map {classes} classes to its {len(level['labels'])} labels"
    if "calibration" in manifest and not 0 < float(manifest["calibration"]["temperature"]) < math.inf:
        return f"its temperature {manifest['calibration']['temperature']} is not above 0"
    _ = manifest["demo"], [manifest["source"][key] for key in ("origin", "location", "sha256")]
    _ = [label[language] for label in manifest["labels"] for language in ("en", "zh")]
    return None
