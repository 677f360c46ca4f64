"""Article B's service for `vit_b_16_mel`: threads prepare all recordings, then batches are classified.

Article B is "AcousticSense AI优化指南:如何提升音乐分类的准确性和速度" (undated).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from torch import nn

from bench.baselines.network import classify
from bench.baselines.pictures import article_b

Array = npt.NDArray[np.float32]

THREADS = 4
BATCH = 8


class ThreadPool:
    """Float32 on a CPU, half precision on a GPU, as in the article; without its torch.compile (GPU only)."""

    name = "article B"
    what = f"librosa in {THREADS} threads, PyTorch, batches of {BATCH}"
    spectrum = "mel"

    def __init__(self, network: nn.Module) -> None:
        self._network = network.half() if next(network.parameters()).is_cuda else network
        self._pool = ThreadPoolExecutor(THREADS)

    def run(self, recordings: Sequence[bytes]) -> Array:
        """Probabilities float32 [n, classes]."""
        rows = list(self._pool.map(article_b, recordings))
        batches = (np.stack(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH))
        return np.concatenate([classify(self._network, batch) for batch in batches])
