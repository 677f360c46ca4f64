"""How unsure an answer is, in four ways, and whether a person should look at it.

All are from 0, sure, to 1. The first three look at the recording's probabilities alone; disagreement looks at the
slices (of speech: the frames), whose mean may be sure of what none of them says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from answers.voting import normalised_entropy

Array = npt.NDArray[np.float32]

# Labels that an answer lists at least when a person should look at it.
REVIEW_TOP = 3


def uncertainty(probabilities: Array, parts: Array, best: int) -> dict[str, float]:
    """The measures of one answer.

    Parameters
    ----------
    probabilities : float32 [classes], of the recording
    parts : float32 [n, classes], of its slices or frames
    best : the class that the answer names

    Returns
    -------
    entropy : -sum p ln p / ln K
    margin : 1 - (largest - second largest probability)
    variation_ratio : 1 - largest probability (Freeman 1965, for one distribution)
    disagreement : share of the parts that put another class first
    """
    second, first = np.sort(probabilities.astype(np.float64))[-2:]
    return {
        "entropy": float(normalised_entropy(probabilities)),
        "margin": float(1 - (first - second)),
        "variation_ratio": float(1 - first),
        "disagreement": float(np.mean(parts.argmax(axis=1) != best)),
    }


# The values of the option `uncertainty`.
MEASURES = ("entropy", "margin", "variation_ratio", "disagreement")


def review(measures: dict[str, float], by: str, threshold: float) -> dict:
    """What RESULT says of it: the measures, and whether the chosen one is above the threshold."""
    told = {name: round(value, 4) for name, value in measures.items()}
    return {
        "uncertainty": told,
        "review": {"by": by, "threshold": threshold},
        "needs_review": told[by] > threshold,  # of what is told, so that the answer does not contradict itself
    }
