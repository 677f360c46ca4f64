"""What Tritone is compared with: the articles' pipelines, the released one, and a plain Triton repository.

Written from their descriptions to run as fast as those allow, and fed with files in memory instead of on a disk.
Their caches are left out: the recordings of a benchmark are distinct.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class BaselineError(RuntimeError):
    """A baseline cannot run; the message says why and what to do."""


class Baseline(Protocol):
    """A pipeline that runs in this process; made from the network that it shall use, which it may convert.

    Attributes
    ----------
    name, what : for a table: what it is called, and how it works in a few words
    spectrum : "cqt" or "mel", what it draws, or None where it draws nothing; its network should have been trained
        on the same
    """

    name: str
    what: str
    spectrum: str | None

    def run(self, recordings: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Probabilities float32 [n, classes] of n encoded recordings, in their order."""
