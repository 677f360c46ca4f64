"""Trying again: exponential pauses with full jitter, only after curable failures, never beyond the deadline.

Full jitter (a pause drawn uniformly from 0 to the bound) keeps many refused clients from coming back together:
M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

import random
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from tritone_client.errors import Failure, is_curable

FIRST_PAUSE = 0.1  # seconds: about one execution of a network, so that a full queue has moved
LONGEST_PAUSE = 2.0  # seconds: a server that is back is noticed soon

Answer = TypeVar("Answer")


def pause(attempt: int) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 0): uniform in [0, min(2, 0.1 * 2**attempt)]."""
    return random.uniform(0.0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt, 10)))


def call(
    attempt: Callable[[float], Answer],
    *,
    timeout: float,
    retries: int | None,
    sleep: Callable[[float], object],
) -> Answer:
    """Call `attempt(seconds left)` until it succeeds.

    `timeout` (seconds) is the deadline of all attempts and pauses together; `retries` bounds the number of further
    attempts, None leaves that to the deadline. Raises the last `Failure` that says more than that time was over.
    """
    if not timeout > 0:
        raise ValueError(f"The timeout must be a positive number of seconds, not {timeout}.")
    deadline = time.monotonic() + timeout
    cause: Failure | None = None
    for number in count():
        try:
            return attempt(deadline - time.monotonic())
        except Failure as failure:
            left = deadline - time.monotonic()
            if not is_curable(failure):
                raise cause if cause and failure.status == "DEADLINE_EXCEEDED" else failure from None
            if number == retries or left < FIRST_PAUSE:
                raise
            cause = failure
        sleep(min(pause(number), left / 2))
    raise AssertionError("unreachable")
