"""Synthetic recordings as files like those that users send."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import soundfile as sf

from sounds.generate import FAMILIES, sound

SUBTYPES = {"MP3": "MPEG_LAYER_III", "WAV": "PCM_16", "FLAC": "PCM_16"}


def recording(
    family: int, seed: int, *, seconds: float = 30.0, kind: str = "MP3", sr: int = 44100, channels: int = 2
) -> bytes:
    """Return a file with a sound of one of the 16 families; by default stereo at 44 100 Hz."""
    file = io.BytesIO()
    samples = sound(family, seed, seconds=seconds, sr=sr, channels=channels)
    sf.write(file, samples, sr, format=kind, subtype=SUBTYPES[kind])
    return file.getvalue()


def collection(n: int, *, seconds: float = 30.0, kind: str = "MP3") -> list[bytes]:
    """Return n distinct recordings, cycling through the families."""
    return [recording(k % len(FAMILIES), 1000 + k, seconds=seconds, kind=kind) for k in range(n)]


def utterances(lengths: Sequence[float]) -> list[bytes]:
    """Return distinct recordings of these lengths in seconds; three in four are WAV, mono at 16 kHz, like speech.

    The fourth is MP3, stereo at 44.1 kHz. The order is shuffled: benchmarks send neighbours at the same time, and
    a server that batches similar lengths must not get them sorted.
    """
    shuffled = np.random.default_rng(len(lengths)).permutation(np.asarray(lengths, float)).tolist()
    return [utterance(k, seconds) for k, seconds in enumerate(shuffled)]


def utterance(k: int, seconds: float) -> bytes:
    """Return the k-th recording of `utterances`."""
    form: dict[str, Any] = {} if k % 4 == 3 else {"kind": "WAV", "sr": 16000, "channels": 1}
    return recording(k % len(FAMILIES), 2000 + k, seconds=seconds, **form)
