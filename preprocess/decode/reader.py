"""What all readers have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]  # [n], mono
Block = npt.NDArray[np.float32]  # [frames, channels]

BLOCK_FRAMES = 1 << 16  # 1.5 s at 44.1 kHz; stays in the CPU's cache, twice as fast as all at once


class Incomplete(Exception):
    """The reader cannot read the file, or not to its end; the next one begins it anew."""


class Reader(Protocol):
    """One way to decode a recording.

    Attributes
    ----------
    duration : seconds of sound by the file's own declaration; None where there is no reliable one
    end : seconds at which the sound ends by the file's declaration, within its last packet (None: with it)
    notes : sentences about what had to be mended in the blocks that were read
    """

    duration: float | None
    end: float | None

    @property
    def notes(self) -> tuple[str, ...]:
        """See above."""

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield float32 [frames, channels] and their rate in Hz; raise Incomplete where the rest is not read."""

    def measure(self) -> float | None:
        """Seconds of the whole recording, after the first blocks were read; None where only decoding shows it."""

    def close(self) -> None:
        """Free what the reader holds."""
