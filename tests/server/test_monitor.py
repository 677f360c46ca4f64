"""When a system is probed, against Triton's counts as they may be, and a clock that the test sets."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from server import supervisor
from server.healthcheck import Requests, Unhealthy
from server.supervisor import IDLE_PERIODS, QUIET_PERIODS, TICK, SystemMonitor

PERIOD = 2.0


class Triton:
    """Counts what clients and probes of one system did, and is asked every half second."""

    def __init__(self, monkeypatch):
        self.now, self.probes, self.looks = 1000.0, [], 0
        self.counts = dict.fromkeys(("s", "s_preprocess", "s_network"), Requests(0, 0))
        monkeypatch.setattr(supervisor.time, "monotonic", lambda: self.now)
        self.monitor = SystemMonitor(
            "s", SimpleNamespace(http=""), PERIOD, 60.0, SimpleNamespace(submit=self.probe)
        )

    def add(self, *models: str) -> None:
        for model in models:
            before = self.counts[model]
            self.counts[model] = Requests(before.answered + 1, before.ended + 1)

    def probe(self, _) -> Future:
        self.probes.append(self.now)
        self.add("s_preprocess", "s_network")
        done: Future = Future()
        done.set_result(None)
        return done

    def look(self) -> dict[str, Requests]:
        self.looks += 1
        return self.counts

    def run(self, seconds: float, *models: str) -> list[float]:
        """Seconds of the probes from now on; a client's request ends in `models` before each check."""
        before, start = len(self.probes), self.now
        while self.now < start + seconds:
            self.now += TICK
            self.add(*models)
            self.monitor.check(self.look)
        return [at - start for at in self.probes[before:]]


@pytest.fixture
def triton(monkeypatch):
    return Triton(monkeypatch)


def test_an_idle_system_is_probed_seldom_and_the_next_request_ends_that(triton):
    assert len(triton.run(QUIET_PERIODS * PERIOD)) >= 12
    idle = triton.run(300)
    assert 4 <= len(idle) <= 300 / (IDLE_PERIODS * PERIOD) + 1
    triton.run(2 * PERIOD)
    triton.add("s", "s_preprocess", "s_network")
    first, second, *_ = triton.run(20)
    assert first <= 2 * PERIOD + TICK and second - first <= 2 * PERIOD + TICK


def test_probes_are_not_requests_of_clients(triton):
    triton.run(QUIET_PERIODS * PERIOD + 10)
    assert triton.probes and triton.monitor.is_quiet


@pytest.mark.parametrize("models", [("s",), ("s_preprocess",)])
def test_an_idle_system_that_hangs_with_a_request_is_probed_at_once(triton, models):
    """The request was answered from the cache, or hangs in the network: then only the first step has ended it."""
    triton.run(QUIET_PERIODS * PERIOD)
    while triton.run(TICK) == []:  # until just after a probe
        pass
    triton.run(3 * PERIOD)
    triton.add(*models)
    assert triton.run(30)[0] <= PERIOD + TICK


def test_a_system_that_answers_is_not_probed(triton):
    assert triton.run(30, "s", "s_preprocess", "s_network") == []


def test_there_is_one_look_per_period(triton):
    triton.run(QUIET_PERIODS * PERIOD)
    triton.looks = 0
    triton.run(100)
    assert triton.looks <= 100 / PERIOD


def test_a_system_that_was_unloaded_is_unhealthy(triton):
    del triton.counts["s_network"]
    with pytest.raises(Unhealthy, match="s_network is not loaded"):
        triton.run(5)
