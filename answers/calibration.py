"""Confidence that means what it says: temperature scaling and label smoothing.

A temperature above 1 makes probabilities more modest and keeps their order (Guo et al., "On calibration of modern
neural networks", 2017). It is fitted by `tritone calibrate` and kept in the manifest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from answers.options import CommonOptions

Array = npt.NDArray[np.float32]


def temperature(options: CommonOptions, manifest: dict) -> float:
    """The temperature that the options ask for; 1 where they ask for none."""
    wish = options.temperature
    if wish == "fitted":
        return float(manifest["calibration"]["temperature"])
    return 1.0 if wish is None else float(wish)


def scaled(logits: npt.NDArray, t: float) -> npt.NDArray:
    """Logits over the temperature, in float64, where none overflows; the very same where it is 1."""
    return logits if t == 1 else logits.astype(np.float64) / t


def smoothed(probabilities: Array, smoothing: float, usable: npt.NDArray[np.bool_] | None = None) -> Array:
    """(1 - s) p + s / K over the last axis, or over its K usable classes; the very same where s is 0."""
    if not smoothing:
        return probabilities
    usable = np.ones(probabilities.shape[-1], bool) if usable is None else usable
    return ((1 - smoothing) * probabilities + smoothing * usable / usable.sum()).astype(np.float32)


def report(options: CommonOptions, t: float) -> dict:
    """RESULT's entry, empty where neither is on."""
    if t == 1 and not options.label_smoothing:
        return {}
    return {"calibration": {"temperature": t, "label_smoothing": options.label_smoothing}}
