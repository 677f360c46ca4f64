"""Generated recordings as the files that users send."""

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
    """A file, stereo at 44 100 Hz unless told otherwise, of one of the 16 families of generated sound."""
    file = io.BytesIO()
    samples = sound(family, seed, seconds=seconds, sr=sr, channels=channels)
    sf.write(file, samples, sr, format=kind, subtype=SUBTYPES[kind])
    return file.getvalue()


def collection(n: int, *, seconds: float = 30.0, kind: str = "MP3") -> list[bytes]:
    """Make n distinct recordings, the families by turns."""
    return [recording(k % len(FAMILIES), 1000 + k, seconds=seconds, kind=kind) for k in range(n)]


def utterances(lengths: Sequence[float]) -> list[bytes]:
    """Distinct recordings of these lengths in seconds, as speech is sent: three in four WAV, mono at 16 kHz.

    The fourth is MP3, stereo at 44.1 kHz. Their order has nothing to do with their length: neighbours are sent at
    the same time, and a server that answers like lengths together should not find them sorted.
    """
    shuffled = np.random.default_rng(len(lengths)).permutation(np.asarray(lengths, float)).tolist()
    return [utterance(k, seconds) for k, seconds in enumerate(shuffled)]


def utterance(k: int, seconds: float) -> bytes:
    """The k-th of `utterances`."""
    form: dict[str, Any] = {} if k % 4 == 3 else {"kind": "WAV", "sr": 16000, "channels": 1}
    return recording(k % len(FAMILIES), 2000 + k, seconds=seconds, **form)
