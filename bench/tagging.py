"""How far two answers of a tagger are apart: the figures that `bench.precision` and `bench.tags` share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from tritone_client import Client, InvalidRecording

from bench.disturbances import FLAC, Form, encoded
from sounds import Samples

# Independent probabilities [recordings, tags].
Tags = npt.NDArray[np.float64]
# Smallest probability at which a tag is shown to users.
SHOWN = 0.1


def answer(client: Client, model: str, recording: bytes, **options: Any) -> Tags:
    """The probabilities of all tags, float64 [tags]; NaN, [1], where the recording is refused as silent."""
    try:
        return np.asarray(client.classify(recording, model=model, **options).probabilities, np.float64)
    except InvalidRecording as error:
        if error.code != "silent":
            raise
        return np.array([np.nan])


def together(answers: Sequence[Tags]) -> Tags:
    """Answers to several recordings, [recordings, tags]; all NaN where one was refused."""
    tags = max(map(len, answers))
    return np.stack([np.broadcast_to(answer, tags) for answer in answers])


def as_flac(samples: Samples, sr: int) -> bytes:
    """A file that loses nothing but what is below 16 bits."""
    return encoded(samples, Form(FLAC.suffix, sr, FLAC.arguments))


def compare(expected: Tags, found: Tags, top: int = 3) -> dict[str, float]:
    """Figures over all recordings that were not refused.

    Parameters
    ----------
    expected, found : probabilities of the same recordings
    top : how many of the most probable tags

    Returns
    -------
    refused : how many were
    same_set : share of recordings where the same tags are shown
    mean_difference, max_difference : of probabilities, over all tags
    mean_rank, least_rank : Spearman's correlation of a recording's tags, over the recordings
    same_top : share of recordings with the same most probable tag
    top_kept : share of the expected most probable tags that are among the found ones
    """
    heard = np.isfinite(found).all(axis=1)
    refused = int((~heard).sum())
    expected, found = expected[heard], found[heard]
    difference = np.abs(found - expected)
    ranks = rank_correlations(expected, found)
    best, others = (np.argsort(-tags, axis=1, kind="stable")[:, :top] for tags in (expected, found))
    kept = [len(set(one) & set(other)) / top for one, other in zip(best.tolist(), others.tolist(), strict=True)]
    return {
        "refused": refused,
        "same_set": float(((expected >= SHOWN) == (found >= SHOWN)).all(axis=1).mean()),
        "mean_difference": float(difference.mean()),
        "max_difference": float(difference.max()),
        "mean_rank": float(ranks.mean()),
        "least_rank": float(ranks.min()),
        "same_top": float((best[:, 0] == others[:, 0]).mean()),
        "top_kept": float(np.mean(kept)),
    }


def rank_correlations(expected: Tags, found: Tags) -> npt.NDArray[np.float64]:
    """Spearman's correlation of each recording's tags, float64 [recordings]."""
    one, other = (rankdata(tags, axis=1) for tags in (expected, found))
    one, other = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, other))
    return (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))


def packages(songs: Iterable[Path]) -> dict[str, int]:
    """How many songs come from which folder."""
    names = [song.parent.name for song in songs]
    return {name: names.count(name) for name in dict.fromkeys(names)}
