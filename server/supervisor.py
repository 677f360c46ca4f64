"""Keeps Triton healthy: it is ready only after every system has answered, and failed parts are restarted.

Triton 24.10 never restarts the process of a Python step. If one of two has died, every second request fails
forever, while /v2/health/ready stays 200. The supervisor watches:

* the stubs: it notices a missing or stopped one within half a second and reloads its model, while the other stubs
  continue to serve. It restarts the server only if Triton would never finish the stub's requests;
* the systems: it probes a system whose network has run nothing for some seconds (`healthcheck.ask`), which finds
  hanging steps. A probe costs one row of the network; there are none while clients get answers, and few if no
  client has sent a request for a minute;
* the server process: it restarts it at once if it has served before, and after increasing pauses of up to a minute
  as long as it does not become ready;
* the memory (`memory`), which grows with the largest request and never shrinks.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from http.client import HTTPException

from server import healthcheck
from server.control import Control, ControlError
from server.errors import ServerError
from server.loading import Loading
from server.memory import Memory
from server.process import Stub, Triton

TICK = 0.5  # seconds between checks of the processes
START_SECONDS = 600.0  # limit for loading and warming the models
RETIRED_SECONDS = 30.0  # limit for a replaced stub to finish its requests
LONGEST_PAUSE = 60.0  # seconds between two starts
QUIET_PERIODS = 30  # probe periods without a client's request after which a system is idle
IDLE_PERIODS = 30  # probe periods between two probes of an idle system

UNHEALTHY_STUB = re.compile(r"Stub process '(?P<model>[^']+)_\d+_\d+' is not healthy")


class RestartNeeded(Exception):
    """The server must be restarted; the message says why."""


Counts = Callable[[], dict[str, healthcheck.Requests]]


class SystemMonitor:
    """Monitors one system.

    It looks at Triton's counts once per period. It probes the system if its network has run nothing since the last
    look or, while the system is idle, for `IDLE_PERIODS`.

    Parameters
    ----------
    system : name of the system
    control : Triton's HTTP interface
    period : seconds between two looks
    patience : seconds without any answer after which the system counts as hanging
    pool : runs the probes
    """

    def __init__(
        self, system: str, control: Control, period: float, patience: float, pool: ThreadPoolExecutor
    ) -> None:
        self.system = system
        self._control = control
        self._period = period
        self._patience = patience
        self._pool = pool
        self.reset()

    def reset(self) -> None:
        """Start over, after a restart of the server or a reload of a model."""
        self._probe: Future[None] | None = None
        self._active = self._ran = time.monotonic()
        self._next_look = self._active + self._period
        self._answered = self._ended = 0
        self._prepared: int | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether no client has sent a request, answered from the cache or not, for a while."""
        return time.monotonic() > self._active + QUIET_PERIODS * self._period

    def check(self, counts: Counts) -> None:
        """Start a probe if one is due, and check the result of an earlier one.

        Parameters
        ----------
        counts : returns Triton's present counts by model

        Raises
        ------
        healthcheck.Unhealthy, ControlError, OSError
            If the probe failed.
        """
        now = time.monotonic()
        if self._probe is not None:
            if self._probe.done():
                probe, self._probe = self._probe, None
                probe.result()
        elif now >= self._next_look:
            self._next_look = (
                now - now % self._period + self._period
            )  # a grid: all systems look at the same counts
            if self._look(counts(), now):
                self._probe = self._pool.submit(self.probe)
                self._prepared = None  # the probe counts there, too

    def _look(self, counts: dict[str, healthcheck.Requests], now: float) -> bool:
        """Update what is known of the system; return whether to probe it."""
        try:
            own, first, network = (counts[self.system + part] for part in ("", "_preprocess", "_network"))
        except KeyError as error:
            raise healthcheck.Unhealthy(f"{error.args[0]} is not loaded") from error
        # The first step counts requests that hang in a later one.
        if own.ended != self._ended or (self._prepared is not None and first.ended != self._prepared):
            self._active = now
        has_run = network.answered > self._answered
        if has_run:
            self._ran = now
        self._answered, self._ended, self._prepared = network.answered, own.ended, first.ended
        return not has_run and (not self.is_quiet or now - self._ran >= IDLE_PERIODS * self._period)

    def probe(self) -> None:
        """Probe the system and wait for the result."""
        healthcheck.ask(self._control.http, self.system, self._patience)


class Supervisor:
    """Starts Triton, waits until every system answers, and keeps it healthy until `stop`.

    Parameters
    ----------
    start : starts a server process; its argument says whether a server has been ready before (a restart)
    control : Triton's HTTP interface
    systems : names of the systems to monitor
    period : seconds without an answer after which a system is probed; idle ones are probed less often
    patience : seconds without any answer after which a system counts as hanging
    memory : decides what has grown too large
    say : prints a line for the user
    on_healthy, on_unhealthy : called when every system has answered, and when the server must be restarted
    """

    def __init__(
        self,
        start: Callable[[bool], Triton],
        control: Control,
        systems: list[str],
        period: float,
        patience: float,
        memory: Memory,
        say: Callable[[str], None],
        on_healthy: Callable[[], None],
        on_unhealthy: Callable[[], None],
    ) -> None:
        self._start = start
        self._control = control
        self._memory = memory
        self._say = say
        self._on_healthy = on_healthy
        self._on_unhealthy = on_unhealthy
        self._stop = threading.Event()
        self._triton: Triton | None = None
        self._stubs: dict[int, Stub] = {}
        self._retired: dict[Stub, float] = {}
        pool = ThreadPoolExecutor(len(systems), thread_name_prefix="probe")
        self._monitors = [SystemMonitor(system, control, period, patience, pool) for system in systems]

    def stop(self) -> None:
        """Make `run` return; may be called by a signal handler."""
        self._stop.set()

    def kill(self) -> None:
        """Kill the server at once."""
        self._stop.set()
        if self._triton:
            self._triton.kill()

    def run(self) -> None:
        """Serve until `stop`.

        Raises
        ------
        ServerError
            If the first start fails; after that, the server is restarted until `stop`.
        """
        served, failed_starts = False, 0
        try:
            while not self._stop.is_set():
                self._triton = self._start(served)
                failed_starts += 1
                try:
                    self._bring_up(self._triton)
                    self._on_healthy()
                    if served:
                        self._say(
                            f"Triton is ready again, {time.monotonic() - self._triton.started:.1f} s after "
                            "starting"
                        )
                    served, failed_starts = True, 0
                    self._supervise(self._triton)
                except (RestartNeeded, ControlError, healthcheck.Unhealthy, OSError, HTTPException) as error:
                    if self._stop.is_set():
                        return
                    why, ended = str(error), self._triton.exit_code is not None
                else:
                    return
                self._on_unhealthy()
                self._triton.kill()
                why = self._triton.reason() if ended else why
                if not served:
                    raise ServerError(f"Triton did not start: {why}")
                pause = min(2.0**failed_starts - 1, LONGEST_PAUSE)
                self._say(f"restarting Triton{f' in {pause:.0f} s' if pause else ''}: {why}")
                self._stop.wait(pause)
        finally:
            if self._triton:
                if self._stop.is_set():
                    self._say("stopping; Ctrl-C again stops at once")
                self._triton.stop()

    def _bring_up(self, triton: Triton) -> None:
        """Wait until all models are loaded and warm, and every system has answered."""
        self._retired.clear()
        loading = Loading([monitor.system for monitor in self._monitors], self._say)
        while not self._control.ready():
            loading.report(triton.loaded)
            if self._stop.wait(0.1) or triton.exit_code is not None:
                raise RestartNeeded("Triton exited while it loaded the models")
            if time.monotonic() - triton.started > START_SECONDS:
                raise RestartNeeded(f"Triton was not ready within {START_SECONDS:.0f} s")
        for monitor in self._monitors:
            loading.report(triton.loaded)
            monitor.probe()
            monitor.reset()
        self._stubs = triton.stubs(fresh=True)
        triton.protect()
        self._memory.begin(triton)

    def _supervise(self, triton: Triton) -> None:
        """Check a running server repeatedly until `stop`."""
        while not self._stop.wait(TICK):
            if triton.exit_code is not None:
                raise RestartNeeded("Triton exited")
            triton.protect()
            self._check_stubs(triton)
            self._check_memory(triton)
            counts = cache(partial(healthcheck.requests, self._control.http))
            for monitor in self._monitors:
                self._check_system(triton, monitor, counts)

    def _check_stubs(self, triton: Triton) -> None:
        alive = triton.stubs()
        for stub in (*self._stubs.values(), *self._retired):
            if stub.pid not in alive and triton.has_pending(stub):
                raise RestartNeeded(f"lost {stub.instance} (process {stub.pid}) with unfinished long requests")
        for stub in [stub for stub, until in self._retired.items() if until < time.monotonic()]:
            if not triton.has_pending(stub):
                triton.discard(stub)
                del self._retired[stub]
        serving = {pid: stub for pid, stub in alive.items() if stub not in self._retired}
        gone = [stub for pid, stub in self._stubs.items() if pid not in serving]
        self._stubs = serving
        instances = {stub.instance for stub in serving.values()}
        for model in dict.fromkeys(stub.model for stub in gone if stub.instance not in instances):
            # A model that was unloaded on purpose has no stubs either.
            if self._control.loaded(model):
                lost = [stub for stub in gone if stub.model == model]
                names = ", ".join(f"{stub.instance} (process {stub.pid})" for stub in lost)
                self._reload(triton, model, f"lost {names}")
                for stub in lost:
                    triton.discard(stub)

    def _check_memory(self, triton: Triton) -> None:
        for stub in self._stubs.copy().values():
            if why := self._memory.too_large(stub):
                self._reload(triton, stub.model, why)
        is_quiet = all(monitor.is_quiet for monitor in self._monitors) and not any(
            map(triton.has_pending, self._stubs.values())
        )
        if why := self._memory.excess(triton, is_quiet):
            raise RestartNeeded(why)

    def _check_system(self, triton: Triton, monitor: SystemMonitor, counts: Counts) -> None:
        try:
            monitor.check(counts)
        except healthcheck.Unhealthy as error:
            stub = UNHEALTHY_STUB.search(str(error))
            if not stub:
                raise
            self._reload(triton, stub["model"], str(error))

    def _reload(self, triton: Triton, model: str, why: str) -> None:
        """Reload a model; its old stubs finish their requests and are then killed."""
        began = time.monotonic()
        old = [stub for stub in triton.stubs(fresh=True).values() if stub.model == model]
        self._control.reload(model)
        self._retired |= dict.fromkeys(old, time.monotonic() + RETIRED_SECONDS)
        self._stubs = {pid: stub for pid, stub in triton.stubs(fresh=True).items() if stub not in self._retired}
        for monitor in self._monitors:
            monitor.reset()  # probes of the old stubs have no meaning now
        self._say(f"{why}; reloaded {model} in {time.monotonic() - began:.1f} s")
