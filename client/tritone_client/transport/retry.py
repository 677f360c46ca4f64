"""Retries: exponential pauses with full jitter, only after temporary failures, never beyond the deadline.

Full jitter (a pause drawn uniformly from 0 to the bound) keeps many rejected clients from returning together:
M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

import random
import time
from collections.abc import Callable
from typing import Any

from tritone_client.errors import Failure, is_curable
from tritone_client.flow import Attempt, Flow, Pause

FIRST_PAUSE = 0.1  # seconds: about one execution of a network, after which a full queue has moved
LONGEST_PAUSE = 2.0  # seconds, so that a client soon notices that the server is back


def pause(attempt: int) -> float:
    """Return the seconds to wait after failed attempt `attempt` (from 0).

    The pause is uniform in [0, min(2, 0.1 * 2**attempt)].
    """
    return random.uniform(0.0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt, 10)))


class Attempts:
    """The attempts at one call: how long each may take, and whether another follows a failure.

    `timeout` (seconds) limits all attempts and pauses together; `retries` limits the number of further attempts,
    None means no limit but the deadline.
    """

    def __init__(self, timeout: float, retries: int | None) -> None:
        if not timeout > 0:
            raise ValueError(f"The timeout must be a positive number of seconds, not {timeout}.")
        self._deadline = time.monotonic() + timeout
        self._retries = retries
        self._failed = 0
        self._cause: Failure | None = None

    def left(self) -> float:
        """Return the seconds until the deadline."""
        return self._deadline - time.monotonic()

    def pause_after(self, failure: Failure) -> float:
        """Return the seconds to wait before the next attempt.

        If there is no next attempt, raises the last `Failure` that says more than that the time ran out.
        """
        left = self.left()
        if not is_curable(failure):
            raise self._cause if self._cause and failure.status == "DEADLINE_EXCEEDED" else failure from None
        if self._failed == self._retries or left < FIRST_PAUSE:
            raise failure
        self._cause = failure
        self._failed += 1
        return min(pause(self._failed - 1), left / 2)


def tried(attempt: Callable[[float], Any], *, timeout: float, retries: int | None) -> Flow[Any]:
    """Call `attempt(seconds left)` until it succeeds, as `Attempts` allows. Raises `Failure`."""
    attempts = Attempts(timeout, retries)
    while True:
        try:
            return (yield Attempt(attempt, attempts.left()))
        except Failure as failure:
            seconds = attempts.pause_after(failure)
        yield Pause(seconds)
