"""Article A's pipelines for `vgg19_bn_cqt`, before and after its optimisations.

Article A is Zhang Kaifa, "ccmusic-database性能优化:VGG19_BN模型FP16推理加速与GPU利用率提升方案" (19 April 2026).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench.baselines.network import classify
from bench.baselines.pictures import article_a
from server.variants import Machine

Array = npt.NDArray[np.float32]

BATCH = 8  # the article uses 4 to 8


class OneByOne:
    """Load, compute the spectrogram and classify in float32, one recording after the other."""

    name = "article A"
    what = "librosa, PyTorch float32, one by one"
    spectrum = "cqt"

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def run(self, recordings: Sequence[bytes]) -> Array:
        """Probabilities float32 [n, classes]."""
        return np.concatenate([classify(self._network, article_a(data)[None]) for data in recordings])


class Optimised:
    """Batches in half precision on a warm network; the spectrograms are computed one after the other.

    Half precision is float16 on a GPU. The article uses float32 on CPUs; as a stronger baseline, CPUs with
    bfloat16 instructions use bfloat16 here, in the memory layout that suits it.

    Parameters
    ----------
    network : converted to the precision in place
    precision : None: the fastest of the device
    """

    name = "article A, fully optimised"
    spectrum = "cqt"

    def __init__(self, network: nn.Module, precision: torch.dtype | None = None) -> None:
        self.precision = precision or _half_precision()
        self.what = f"librosa, PyTorch {str(self.precision).removeprefix('torch.')}, batches of {BATCH}"
        torch.backends.cudnn.benchmark = True  # as in the article; has no effect without a GPU
        self._network = network.to(self.precision, memory_format=torch.channels_last)
        classify(self._network, np.zeros((BATCH, 3, 224, 224), np.float32))

    def run(self, recordings: Sequence[bytes]) -> Array:
        """Probabilities float32 [n, classes]."""
        batches = (recordings[start : start + BATCH] for start in range(0, len(recordings), BATCH))
        return np.concatenate([classify(self._network, np.stack([article_a(d) for d in b])) for b in batches])


def _half_precision() -> torch.dtype:
    """Return the narrowest floating point type with native instructions on this machine."""
    if torch.cuda.is_available():
        return torch.float16
    return torch.bfloat16 if {"avx512_bf16", "amx_bf16"} & Machine.here().features else torch.float32
