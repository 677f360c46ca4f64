"""Generated recordings as the files that users send."""

from __future__ import annotations

import io

import soundfile as sf

from export.sounds import FAMILIES, sound

SUBTYPES = {"MP3": "MPEG_LAYER_III", "WAV": "PCM_16", "FLAC": "PCM_16"}


def recording(family: int, seed: int, *, seconds: float = 30.0, kind: str = "MP3") -> bytes:
    """A stereo file at 44 100 Hz of one of the 16 families of generated sound."""
    file = io.BytesIO()
    samples = sound(family, seed, seconds=seconds, sr=44100, channels=2)
    sf.write(file, samples, 44100, format=kind, subtype=SUBTYPES[kind])
    return file.getvalue()


def collection(n: int, *, seconds: float = 30.0, kind: str = "MP3") -> list[bytes]:
    """n distinct recordings, the families by turns."""
    return [recording(k % len(FAMILIES), 1000 + k, seconds=seconds, kind=kind) for k in range(n)]
