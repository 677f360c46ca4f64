"""The interface of all readers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]  # [n], mono
Block = npt.NDArray[np.float32]  # [frames, channels]

BLOCK_FRAMES = 1 << 16  # 1.5 s at 44.1 kHz; fits the CPU's cache, twice as fast as everything at once


class Incomplete(Exception):
    """The reader cannot read the file, or not to its end; the next reader starts again."""


class Reader(Protocol):
    """One way to decode a recording.

    Attributes
    ----------
    duration : seconds of sound that the file declares; None if there is no reliable declaration
    end : declared end of the sound in seconds, within the last packet (None: the packet's end)
    notes : sentences about damage that was repaired in the blocks read so far
    """

    duration: float | None
    end: float | None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about repaired damage."""

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield float32 [frames, channels] and their rate in Hz; raise Incomplete if the rest cannot be read."""

    def measure(self) -> float | None:
        """Return the seconds of the whole recording, after the first blocks; None if only decoding shows them."""

    def close(self) -> None:
        """Free the reader's resources."""
