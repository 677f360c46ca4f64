"""Measures how uncertain an answer is, in four ways, and decides whether a person should review it.

All measures range from 0 (certain) to 1. Three of them use the recording's probabilities alone; disagreement uses
the slices (for speech: the frames), because the mean of parts that disagree can look certain.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from answers.voting import normalised_entropy

Array = npt.NDArray[np.float32]

# Minimum number of labels that an answer lists if a person should review it.
REVIEW_TOP = 3


def uncertainty(probabilities: Array, parts: Array, best: int) -> dict[str, float]:
    """Compute the measures of one answer.

    Parameters
    ----------
    probabilities : float32 [classes], of the recording
    parts : float32 [n, classes], of its slices or frames
    best : index of the class in the answer

    Returns
    -------
    entropy : -sum p ln p / ln K
    margin : 1 - (largest - second largest probability)
    variation_ratio : 1 - largest probability (Freeman 1965, for one distribution)
    disagreement : share of the parts that rank another class first
    """
    second, first = np.sort(probabilities.astype(np.float64))[-2:]
    return {
        "entropy": float(normalised_entropy(probabilities)),
        "margin": float(1 - (first - second)),
        "variation_ratio": float(1 - first),
        "disagreement": float(np.mean(parts.argmax(axis=1) != best)),
    }


# Values of the option `uncertainty`.
MEASURES = ("entropy", "margin", "variation_ratio", "disagreement")


def review(measures: dict[str, float], by: str, threshold: float) -> dict:
    """Return RESULT's entries: the measures, and whether the chosen one is above the threshold."""
    rounded = {name: round(value, 4) for name, value in measures.items()}
    return {
        "uncertainty": rounded,
        "review": {"by": by, "threshold": threshold},
        "needs_review": rounded[by] > threshold,  # the rounded value, so that the answer is consistent
    }
