"""Compares answers of a tagger: figures that `bench.precision` and `bench.tags` share."""

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
    """Return the probabilities of all tags, float64 [tags]; [NaN] if the server rejects it as silent."""
    try:
        return np.asarray(client.classify(recording, model=model, **options).probabilities, np.float64)
    except InvalidRecording as error:
        if error.code != "silent":
            raise
        return np.array([np.nan])


def together(answers: Sequence[Tags]) -> Tags:
    """Join answers to [recordings, tags]; a rejected recording is all NaN."""
    tags = max(map(len, answers))
    return np.stack([np.broadcast_to(answer, tags) for answer in answers])


def as_flac(samples: Samples, sr: int) -> bytes:
    """Encode samples as 16-bit FLAC."""
    return encoded(samples, Form(FLAC.suffix, sr, FLAC.arguments))


def compare(expected: Tags, found: Tags, top: int = 3) -> dict[str, float]:
    """Compare answers to all recordings that were not rejected.

    Parameters
    ----------
    expected, found : probabilities of the same recordings
    top : number of most probable tags to compare

    Returns
    -------
    refused : number of rejected recordings
    same_set : share of recordings with the same shown tags
    mean_difference, max_difference : differences in probability, over all tags
    mean_rank, least_rank : Spearman's correlation of a recording's tags, over the recordings
    same_top : share of recordings with the same most probable tag
    top_kept : share of the expected most probable tags that are among the found ones
    """
    accepted = np.isfinite(found).all(axis=1)
    refused = int((~accepted).sum())
    expected, found = expected[accepted], found[accepted]
    difference = np.abs(found - expected)
    ranks = rank_correlations(expected, found)
    best, others = (np.argsort(-tags, axis=1, kind="stable")[:, :top] for tags in (expected, found))
    kept = [len(set(a) & set(b)) / top for a, b in zip(best.tolist(), others.tolist(), strict=True)]
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
    """Return Spearman's correlation of each recording's tags, float64 [recordings]."""
    a, b = (rankdata(tags, axis=1) for tags in (expected, found))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def packages(songs: Iterable[Path]) -> dict[str, int]:
    """Count the songs of each folder."""
    names = [song.parent.name for song in songs]
    return {name: names.count(name) for name in dict.fromkeys(names)}
