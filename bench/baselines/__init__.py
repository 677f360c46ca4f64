"""Pipelines that Tritone is compared with: those of three articles, the released one, and a plain Triton.

* Article A: Zhang Kaifa, "ccmusic-database性能优化:VGG19_BN模型FP16推理加速与GPU利用率提升方案" (19 April 2026)
* Article B: "AcousticSense AI优化指南:如何提升音乐分类的准确性和速度" (undated)
* Article C: "Emotion2Vec+ Large性能瓶颈?CPU/GPU资源分配优化教程" (22 January 2026)

The pipelines follow the descriptions, are as fast as these allow, and read files from memory instead of a disk.
Their caches are left out, because the recordings of a benchmark are distinct.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class BaselineError(RuntimeError):
    """A baseline cannot run; the message says why and what to do."""


class Baseline(Protocol):
    """A pipeline that runs in this process; it is created with its network, which it may convert.

    Attributes
    ----------
    name, what : name and short description, for tables
    spectrum : spectrogram that it computes, "cqt" or "mel", or None; its network should be trained on the same
    """

    name: str
    what: str
    spectrum: str | None

    def run(self, recordings: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Classify n encoded recordings; return probabilities, float32 [n, classes], in the same order."""
