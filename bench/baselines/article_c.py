"""Article C's pipeline for `emotion2vec_plus_large`: FunASR processes one file at a time with a resident model.

Article C is "Emotion2Vec+ Large性能瓶颈?CPU/GPU资源分配优化教程" (22 January 2026).
FunASR neither pads nor masks, because it processes single files. The article's other optimisations are for GPUs
(half precision, batches) or are PyTorch's defaults (threads).
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import soundfile as sf
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.emotion2vec import Emotion2Vec

Array = npt.NDArray[np.float32]

SR = 16000  # Hz
ZEROS, ROLLOFF = 6, 0.99  # torchaudio.transforms.Resample's defaults


class OneByOne:
    """Load, resample and classify in float32, one recording after the other."""

    name = "article C"
    what = "soundfile, torchaudio's resampling, PyTorch float32, one by one"
    spectrum = None

    def __init__(self, network: Emotion2Vec) -> None:
        self._network = network

    def run(self, recordings: Sequence[bytes]) -> Array:
        """Probabilities float32 [n, classes]."""
        device = self._network.proj.weight.device
        with torch.no_grad():
            rows = [logits(self._network, waveform(data).to(device)).softmax(1) for data in recordings]
        return torch.cat(rows).cpu().numpy()


def waveform(recording: bytes) -> Tensor:
    """Load a file as FunASR does: float32 [1, n], mono, 16 kHz, normalised over all samples."""
    samples, sr = sf.read(io.BytesIO(recording), dtype="float32", always_2d=True)
    y = torch.from_numpy(samples.mean(axis=1))[None]
    if sr != SR:
        y = resample(y, sr)
    return functional.layer_norm(y, y.shape)


def resample(y: Tensor, sr: int) -> Tensor:
    """Resample float32 [1, n] to [1, ceil(n * 16000 / sr)] as `torchaudio.transforms.Resample(sr, 16000)` does."""
    kernel, width, o = _kernel(sr)
    padded = functional.pad(y[:, None], (width, width + o))
    phases = functional.conv1d(padded, kernel, stride=o)  # [1, phases, steps]
    return phases.transpose(1, 2).flatten(1)[:, : math.ceil(y.shape[1] * SR / sr)]


@lru_cache
def _kernel(sr: int) -> tuple[Tensor, int, int]:
    """Return the windowed sinc of each phase, float32 [phases, 1, taps], half its width, and samples per step."""
    divisor = math.gcd(sr, SR)
    o, n = sr // divisor, SR // divisor
    base = ROLLOFF * min(o, n)
    width = math.ceil(ZEROS * o / base)
    inputs = torch.arange(-width, width + o, dtype=torch.float64) / o
    phases = torch.arange(n, dtype=torch.float64)[:, None] / n
    t = ((inputs - phases) * base).clamp(-ZEROS, ZEROS)
    kernel = torch.cos(math.pi * t / (2 * ZEROS)) ** 2 * torch.sinc(t) * (base / o)
    return kernel.float()[:, None], width, o


def logits(network: Emotion2Vec, wav: Tensor) -> Tensor:
    """Compute the network as FunASR does: Conv1d between transposed layer norms, no masks.

    Parameters
    ----------
    wav : float32 [1, n], normalised

    Returns
    -------
    float32 [1, classes]
    """
    audio = network.modality_encoders["AUDIO"]
    x = wav[:, None]
    for layer in audio.local_encoder.conv_layers:
        x = functional.gelu(_norm_channels(layer.get_submodule("2"), layer.get_submodule("0")(x)))
    x = audio.project_features(x.transpose(1, 2))
    x = x + audio.relative_positional_encoder(x)
    frames = torch.arange(x.shape[1], device=x.device)
    bias = network.bias(frames, torch.ones_like(frames, dtype=torch.bool)[None])
    tokens = audio.context_encoder.norm(torch.cat([audio.extra_tokens, x], 1))
    for block in [*audio.context_encoder.blocks, *network.blocks]:
        tokens = block(tokens, bias)
    return network.proj(tokens[:, network.config.extra_tokens :].mean(1))


def _norm_channels(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a norm over the channels of [n, channels, t]."""
    return norm(x.transpose(1, 2)).transpose(1, 2)
