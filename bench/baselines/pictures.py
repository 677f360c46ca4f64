"""Spectrogram images of articles A and B, with librosa; without PyTorch, so that a Triton step can import it."""

from __future__ import annotations

import io

import librosa
import numpy as np
import numpy.typing as npt
import soundfile as sf

from preprocess.render import SIZE, grey_image, resize_bilinear

Array = npt.NDArray[np.float32]

SR = 22050  # Hz
SECONDS = 30.0


def article_a(recording: bytes) -> Array:
    """Article A: CQT of the first 30 s in dB, resized to 224x224, min-max scaled: float32 [3, 224, 224] in [0, 1].

    The article resizes with OpenCV; `resize_bilinear` is equivalent and takes a millisecond.
    """
    y, _ = librosa.load(io.BytesIO(recording), sr=SR, duration=SECONDS)
    db = librosa.amplitude_to_db(np.abs(librosa.cqt(y, sr=SR, n_bins=84, hop_length=512)))
    return grey_image(_min_max(resize_bilinear(db, SIZE, SIZE)))


def article_b(recording: bytes) -> Array:
    """Article B: central 224 frames of a mel spectrogram of the middle 30 s: float32 [3, 224, 224] in [0, 1].

    The article produces 40 bands x 224 frames, which no ViT-B/16 accepts: as in profile `article-b`, the bands are
    stretched to 224 rows and the image is repeated in three channels.
    """
    duration = sf.info(io.BytesIO(recording)).duration
    offset = max(0.0, (duration - SECONDS) / 2)
    y, _ = librosa.load(io.BytesIO(recording), sr=SR, offset=offset, duration=SECONDS)
    mel = librosa.feature.melspectrogram(y=y, sr=SR, n_mels=40, n_fft=1024, hop_length=256)
    scaled = _min_max(librosa.power_to_db(mel, ref=np.max))
    frames = scaled.shape[1]
    start = max(0, (frames - SIZE) // 2)
    scaled = np.tile(scaled, -(-SIZE // frames))[:, start : start + SIZE]
    return grey_image(resize_bilinear(scaled, SIZE, SIZE))


def _min_max(values: Array) -> Array:
    """Scale to [0, 1]. The recordings of the benchmarks are not silent, so the range is never 0."""
    return (values - values.min()) / (values.max() - values.min())
