"""Retries: what is tried again, how long the pauses are, and that the deadline holds."""

import random
import time
from collections.abc import Callable

import pytest
from tritone_client.errors import Failure
from tritone_client.flow import Attempt, Step, run
from tritone_client.transport import retry

BUSY = Failure("UNAVAILABLE", "Exceeds maximum queue size")
REFUSED = Failure("INVALID_ARGUMENT", "no")
LATE = Failure("DEADLINE_EXCEEDED", "late")


def failing(*failures: Failure) -> Callable[[float], str]:
    """An attempt that raises `failures` one after the other and then answers."""
    left = list(failures)

    def attempt(seconds: float) -> str:
        assert seconds > 0
        if left:
            raise left.pop(0)
        return "answer"

    return attempt


def call(
    attempt: Callable[[float], str],
    retries: int | None = None,
    timeout: float = 30.0,
    sleep: Callable[[float], object] = lambda _: None,
) -> tuple[str, list[float]]:
    pauses: list[float] = []

    def carry_out(step: Step) -> object:
        if isinstance(step, Attempt):
            return step.call(step.seconds)
        pauses.append(step.seconds)
        return sleep(step.seconds)

    return run(retry.tried(attempt, timeout=timeout, retries=retries), carry_out), pauses


def test_curable_failures_are_tried_again():
    answer, pauses = call(failing(*[BUSY] * 20))
    assert answer == "answer" and len(pauses) == 20


def test_retries_bound_the_attempts():
    assert call(failing(BUSY, BUSY), retries=2)[0] == "answer"
    with pytest.raises(Failure, match="queue"):
        call(failing(BUSY, BUSY), retries=1)


def test_final_failures_are_not_tried_again():
    with pytest.raises(Failure, match="INVALID"):
        call(failing(REFUSED))
    with pytest.raises(Failure, match="INVALID"):
        call(failing(BUSY, REFUSED))


def test_the_deadline_after_a_failure_tells_the_failure():
    with pytest.raises(Failure, match="late"):
        call(failing(LATE))
    with pytest.raises(Failure, match="queue"):
        call(failing(BUSY, LATE))


def test_the_deadline_bounds_attempts_and_pauses_and_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry, "pause", lambda _: 5.0)
    start = time.monotonic()
    with pytest.raises(Failure, match="queue"):
        call(failing(*[BUSY] * 999), timeout=0.6, sleep=time.sleep)
    assert 0.45 < time.monotonic() - start < 3  # a whole pause is 5 s


def test_pauses_are_full_jitter_below_a_doubling_bound():
    random.seed(0)
    for attempt, bound in [(0, 0.1), (1, 0.2), (3, 0.8), (9, 2.0), (10_000, 2.0)]:
        drawn = [retry.pause(attempt) for _ in range(2000)]
        assert 0 <= min(drawn) < 0.02 * bound and 0.98 * bound < max(drawn) <= bound
        assert sum(drawn) / 2000 == pytest.approx(bound / 2, rel=0.05)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_must_be_positive(timeout: float):
    with pytest.raises(ValueError, match="positive"):
        call(failing(), timeout=timeout)
