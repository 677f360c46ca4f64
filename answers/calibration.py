"""Calibrates confidence: temperature scaling and label smoothing.

A temperature above 1 flattens probabilities and keeps their order (Guo et al., "On calibration of modern neural
networks", 2017). `tritone calibrate` fits it and stores it in the manifest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from answers.options import CommonOptions

Array = npt.NDArray[np.float32]


def temperature(options: CommonOptions, manifest: dict) -> float:
    """Return the temperature that the options request; 1 by default."""
    requested = options.temperature
    if requested == "fitted":
        return float(manifest["calibration"]["temperature"])
    return 1.0 if requested is None else float(requested)


def scaled(logits: npt.NDArray, t: float) -> npt.NDArray:
    """Divide logits by the temperature, in float64 so that none overflows; return them unchanged for 1."""
    return logits if t == 1 else logits.astype(np.float64) / t


def smoothed(probabilities: Array, smoothing: float, usable: npt.NDArray[np.bool_] | None = None) -> Array:
    """Return (1 - s) p + s / K over the K (usable) classes of the last axis; unchanged for s = 0."""
    if not smoothing:
        return probabilities
    usable = np.ones(probabilities.shape[-1], bool) if usable is None else usable
    return ((1 - smoothing) * probabilities + smoothing * usable / usable.sum()).astype(np.float32)


def report(options: CommonOptions, t: float) -> dict:
    """Return RESULT's entry; empty if neither option is on."""
    if t == 1 and not options.label_smoothing:
        return {}
    return {"calibration": {"temperature": t, "label_smoothing": options.label_smoothing}}
