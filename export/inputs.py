"""Prepares generated recordings as inputs of the networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import preprocess
from sounds import sound
from systems import System

# One array per input of a network, with the rows along the first axis.
Feeds = list[npt.NDArray[Any]]


def example_row(system: System, family: int, seed: int) -> Feeds:
    """Return a generated sound as one row: its first slice of 12 s, or a waveform of 1 to 6 s."""
    if system.spectrum:
        recording = sound(family, seed, seconds=12), 22050
        return [preprocess.prepare(recording, system.profile, spectrum=system.spectrum).rows[:1]]
    speech = preprocess.prepare_speech((sound(family, seed, seconds=1 + family / 3, sr=16000), 16000))
    return [speech.wav, speech.lengths]


def pad_batch(rows: Sequence[Feeds]) -> Feeds:
    """Join rows to a batch; shorter ones are padded with zeros."""
    joined = []
    for arrays in zip(*rows, strict=True):
        shape = np.max([array.shape[1:] for array in arrays], axis=0)
        padded = np.zeros((len(arrays), *shape), arrays[0].dtype)
        for row, array in zip(padded, arrays, strict=True):
            row[tuple(slice(size) for size in array.shape[1:])] = array[0]
        joined.append(padded)
    return joined
