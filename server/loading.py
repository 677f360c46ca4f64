"""Reports the progress of a start: which systems Triton has loaded, and which it is still loading."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

STEPS = ("preprocess", "network", "postprocess")  # the models that load one by one; the rest needs no time
SILENCE_SECONDS = 5.0  # after which the launcher reports that it still waits


class Loading:
    """Prints a line when a system is loaded, and at least one every `SILENCE_SECONDS`.

    Parameters
    ----------
    systems : names of the systems that Triton loads, all at the same time
    say : prints a line for the user
    """

    def __init__(self, systems: list[str], say: Callable[[str], None]) -> None:
        self._left = list(systems)
        self._say = say
        self._start = self._last = time.monotonic()

    def report(self, loaded: Collection[str]) -> None:
        """Print what has changed, if anything has.

        Parameters
        ----------
        loaded : names of the models that Triton has loaded
        """
        now = time.monotonic()
        took = f"{now - self._start:.0f} s"
        for system in [name for name in self._left if all(f"{name}_{step}" in loaded for step in STEPS)]:
            self._left.remove(system)
            self._last = now
            self._say(f"{system} is loaded ({took})")
        if now - self._last >= SILENCE_SECONDS:
            self._last = now
            self._say(
                f"loading {', '.join(self._left)} ({took})" if self._left else f"testing the systems ({took})"
            )
