"""Measures how long the stages of preparing a recording take."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds per stage; each lap counts from the previous one.

    Attributes
    ----------
    seconds : stage -> seconds, in the order of the stages' first laps
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
