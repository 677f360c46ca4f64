"""The pipeline of the package musicnn for `musicnn_msd`, in PyTorch: librosa, then the network patch by patch."""

from __future__ import annotations

import io
from collections.abc import Sequence

import librosa
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Array = npt.NDArray[np.float32]

SR = 16000  # Hz
FRAMES = 187  # length of a patch, 3 s


class OneByOne:
    """Load, compute the spectrogram and tag each patch in float32, one recording after the other."""

    name = "musicnn's pipeline"
    what = "librosa, PyTorch float32, patch by patch"
    spectrum = "mel"

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def run(self, recordings: Sequence[bytes]) -> Array:
        """Probabilities float32 [n, classes], means over the patches."""
        return np.stack([np.mean([self._tags(patch) for patch in patches(data)], axis=0) for data in recordings])

    def _tags(self, patch: Array) -> Array:
        device = next(self._network.parameters()).device
        with torch.inference_mode():
            _, logits = self._network(torch.from_numpy(patch[None, None]).to(device))
            return logits.sigmoid()[0].cpu().numpy()


def patches(recording: bytes) -> list[Array]:
    """Return consecutive log-mel patches of 3 s, float32 [96, FRAMES] each; a remainder is dropped."""
    y, _ = librosa.load(io.BytesIO(recording), sr=SR)
    mel = librosa.feature.melspectrogram(y=y, sr=SR, n_fft=512, hop_length=256, n_mels=96)
    values = np.log10(10000 * mel + 1).astype(np.float32)
    return [values[:, k : k + FRAMES] for k in range(0, values.shape[1] - FRAMES + 1, FRAMES)]
