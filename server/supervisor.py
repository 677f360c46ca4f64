"""Keeps Triton whole: ready means that every system has answered, and what dies is brought back.

Triton 24.10 never restarts the process of a Python step. With two of them every second request then fails for ever
while /v2/health/ready stays 200. Four things are watched:

* the stubs: one that vanishes or stops is noticed within half a second, and its model loaded anew in the place of
  the old one while the others go on serving; the whole server only where Triton would never end its requests;
* the systems: one whose network has run nothing for some seconds is asked for an answer (`healthcheck.ask`), which
  finds what hangs. A probe costs one row of the network, and nothing while real answers come;
* the server process, which is started anew: at once after it has served, and ever later, up to a minute, while it
  does not come up;
* memory (`memory`), which grows with the largest request and does not shrink.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException

from server import healthcheck
from server.control import Control, ControlError
from server.errors import ServerError
from server.memory import Memory
from server.process import Stub, Triton

TICK = 0.5  # seconds between looks at the processes
START_SECONDS = 600.0  # that loading and warming up may take
RETIRED_SECONDS = 30.0  # that a replaced stub may take to finish its requests
LONGEST_PAUSE = 60.0  # seconds between two starts
QUIET_PERIODS = 30  # without an answer, after which nothing is asked of a system

UNHEALTHY_STUB = re.compile(r"Stub process '(?P<model>[^']+)_\d+_\d+' is not healthy")


class Broken(Exception):
    """The server has to be started anew; the message says why."""


class Watch:
    """One system under observation."""

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
        """Begin anew, after the server has."""
        self._probe: Future[None] | None = None
        self._next = self._active = time.monotonic()
        self._next += self._period
        self._answered = self._asked = self._probes = 0

    @property
    def is_quiet(self) -> bool:
        """Whether nobody else has had an answer, from a cache or not, for a while."""
        return time.monotonic() > self._active + QUIET_PERIODS * self._period

    def look(self) -> None:
        """Ask for an answer if none has come for a period.

        Raises
        ------
        healthcheck.Unhealthy, ControlError, OSError
            what came of it
        """
        if self._probe is not None:
            if self._probe.done():
                probe, self._probe = self._probe, None
                self._next = time.monotonic() + self._period
                self._probes += 1
                probe.result()
        elif time.monotonic() >= self._next:
            if (asked := healthcheck.requests(self._control.http, self.system) - self._probes) != self._asked:
                self._asked, self._active = asked, time.monotonic()
            answered = healthcheck.answered(self._control.http, self.system)
            if answered > self._answered:
                self._next = time.monotonic() + self._period
            else:
                self._probe = self._pool.submit(self.probe)
            self._answered = answered

    def probe(self) -> None:
        """Ask for an answer."""
        healthcheck.ask(self._control.http, self.system, self._patience)


class Supervisor:
    """Starts Triton, waits until every system answers, and keeps it so until told to stop.

    Parameters
    ----------
    start : makes a new server process; whether it has served before, and is missed, is its argument
    control : its HTTP interface
    systems : names of the systems to watch
    period : seconds without an answer after which a system is asked for one
    patience : seconds without any answer after which a system counts as hanging
    memory : decides what has grown too large
    say : prints a line for the person who started this
    on_whole, on_broken : called when every system answers, and when the server has to be started anew
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
        on_whole: Callable[[], None],
        on_broken: Callable[[], None],
    ) -> None:
        self._start = start
        self._control = control
        self._memory = memory
        self._say = say
        self._on_whole = on_whole
        self._on_broken = on_broken
        self._stop = threading.Event()
        self._triton: Triton | None = None
        self._stubs: dict[int, Stub] = {}
        self._retired: dict[Stub, float] = {}
        pool = ThreadPoolExecutor(len(systems), thread_name_prefix="probe")
        self._watches = [Watch(system, control, period, patience, pool) for system in systems]

    def stop(self) -> None:
        """Ask `run` to end; may be called by a signal handler."""
        self._stop.set()

    def kill(self) -> None:
        """End the server at once."""
        self._stop.set()
        if self._triton:
            self._triton.kill()

    def run(self) -> None:
        """Serve until `stop`.

        Raises
        ------
        ServerError
            the server does not start; one that has served once is started anew until `stop`
        """
        served, failed_starts = False, 0
        try:
            while not self._stop.is_set():
                self._triton = self._start(served)
                failed_starts += 1
                try:
                    self._bring_up(self._triton)
                    self._on_whole()
                    if served:
                        self._say(
                            f"Triton is ready again, {time.monotonic() - self._triton.started:.1f} s after "
                            "starting"
                        )
                    served, failed_starts = True, 0
                    self._watch(self._triton)
                except (Broken, ControlError, healthcheck.Unhealthy, OSError, HTTPException) as error:
                    if self._stop.is_set():
                        return
                    why, ended = str(error), self._triton.exit_code is not None
                else:
                    return
                self._on_broken()
                self._triton.kill()
                why = self._triton.reason() if ended else why
                if not served:
                    raise ServerError(f"Triton did not start: {why}")
                pause = min(2.0**failed_starts - 1, LONGEST_PAUSE)
                self._say(f"restarting Triton{f' in {pause:.0f} s' if pause else ''}: {why}")
                self._stop.wait(pause)
        finally:
            if self._triton:
                self._triton.stop()

    def _bring_up(self, triton: Triton) -> None:
        """Wait until all models are loaded and warm and every system has answered."""
        self._retired.clear()
        while not self._control.ready():
            if self._stop.wait(0.1) or triton.exit_code is not None:
                raise Broken("Triton exited while it loaded the models")
            if time.monotonic() - triton.started > START_SECONDS:
                raise Broken(f"Triton was not ready within {START_SECONDS:.0f} s")
        for watch in self._watches:
            watch.probe()
            watch.reset()
        self._stubs = triton.stubs()
        triton.protect()
        self._memory.begin(triton)

    def _watch(self, triton: Triton) -> None:
        """Look after a running server until told to stop."""
        while not self._stop.wait(TICK):
            if triton.exit_code is not None:
                raise Broken("Triton exited")
            triton.protect()
            self._look_at_stubs(triton)
            self._look_at_memory(triton)
            for watch in self._watches:
                self._look_at_system(triton, watch)

    def _look_at_stubs(self, triton: Triton) -> None:
        alive = triton.stubs()
        for stub in (*self._stubs.values(), *self._retired):
            if stub.pid not in alive and triton.owes(stub):
                raise Broken(f"lost {stub.instance} (process {stub.pid}) with unfinished long requests")
        for stub in [stub for stub, until in self._retired.items() if until < time.monotonic()]:
            if not triton.owes(stub):
                triton.discard(stub)
                del self._retired[stub]
        serving = {pid: stub for pid, stub in alive.items() if stub not in self._retired}
        gone = [stub for pid, stub in self._stubs.items() if pid not in serving]
        self._stubs = serving
        instances = {stub.instance for stub in serving.values()}
        for model in dict.fromkeys(stub.model for stub in gone if stub.instance not in instances):
            # A model that somebody has unloaded loses its stubs as well.
            if self._control.loaded(model):
                lost = [stub for stub in gone if stub.model == model]
                names = ", ".join(f"{stub.instance} (process {stub.pid})" for stub in lost)
                self._reload(triton, model, f"lost {names}")
                for stub in lost:
                    triton.discard(stub)

    def _look_at_memory(self, triton: Triton) -> None:
        for stub in self._stubs.copy().values():
            if why := self._memory.too_large(stub):
                self._reload(triton, stub.model, why)
        is_quiet = all(watch.is_quiet for watch in self._watches) and not any(
            map(triton.owes, self._stubs.values())
        )
        if why := self._memory.excess(triton, is_quiet):
            raise Broken(why)

    def _look_at_system(self, triton: Triton, watch: Watch) -> None:
        try:
            watch.look()
        except healthcheck.Unhealthy as error:
            stub = UNHEALTHY_STUB.search(str(error))
            if not stub:
                raise
            self._reload(triton, stub["model"], str(error))

    def _reload(self, triton: Triton, model: str, why: str) -> None:
        """Load a model anew; its old stubs finish what they have and are then ended."""
        began = time.monotonic()
        old = [stub for stub in triton.stubs().values() if stub.model == model]
        self._control.reload(model)
        self._retired |= dict.fromkeys(old, time.monotonic() + RETIRED_SECONDS)
        self._stubs = {pid: stub for pid, stub in triton.stubs().items() if stub not in self._retired}
        for watch in self._watches:
            watch.reset()  # what they have asked the old stubs means nothing any more
        self._say(f"{why}; reloaded {model} in {time.monotonic() - began:.1f} s")
