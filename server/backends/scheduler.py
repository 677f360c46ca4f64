"""Schedules the network: one thread runs it for all requests and interleaves prompt requests with long ones.

This file is beside each backend's model.py when Triton runs it.
"""

import threading
import time
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

# Limit of the rows of all long requests together. Further requests stay in Triton's queue, with its limit and its
# timeout.
ROWS_THAT_WAIT = 256

Result = TypeVar("Result")
# Runs the network once from each `yield` to the next, and returns the answer at the end.
Steps = Generator[None, None, Result]


@dataclass(eq=False)
class Job:
    """One or more executions of the network.

    Attributes
    ----------
    steps : generator that runs them
    rows : rows of a long job, which hold memory until its end
    left : remaining executions of a long job
    answer : the return value of `steps`
    """

    steps: Steps[Any]
    rows: int = 0
    left: int = 0
    answer: Future = field(default_factory=Future)

    def step(self) -> None:
        """Run the network once."""
        try:
            next(self.steps)
            self.left -= 1
        except StopIteration as end:
            self.answer.set_result(end.value)
        except Exception as error:
            self.answer.set_exception(error)


class Scheduler:
    """One thread that runs the network for all jobs, one execution at a time.

    Prompt jobs come first, but after each execution of a long job only for as long as that took. So a prompt job
    waits for at most one such execution, and under full load both kinds get half of the time. Among the long jobs,
    the one with the fewest remaining executions and the oldest one alternate: a recording of two windows does not
    wait for one of thirty, which still progresses, and seldom more than two hold memory for incomplete outputs.
    """

    def __init__(self) -> None:
        self._prompt: list[Job] = []
        self._long: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._oldest = False
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    def add(self, job: Job, long: bool) -> Future:
        """Add a job and return its answer; a long job waits here until there is room for its rows."""
        with self._changed:
            if long:
                self._changed.wait_for(lambda: self._room(job.rows))
            (self._long if long else self._prompt).append(job)
            self._changed.notify_all()
        return job.answer

    @property
    def has_long(self) -> bool:
        """Whether a long job is unfinished."""
        return bool(self._long)

    def close(self) -> None:
        """Finish all jobs and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _room(self, rows: int) -> bool:
        return not self._long or sum(job.rows for job in self._long) + rows <= ROWS_THAT_WAIT

    def _work(self) -> None:
        credit = 0.0  # seconds that prompt jobs may still take before the next long one
        while jobs := self._next(credit):
            start = time.perf_counter()
            self._step(jobs)
            took = time.perf_counter() - start
            credit = took if jobs is self._long else credit - took

    def _step(self, jobs: list[Job]) -> None:
        """Run the network once for one of these jobs; `_work` keeps no reference to its large answer."""
        job = self._choose(jobs)
        job.step()
        if job.answer.done():
            with self._changed:
                jobs.remove(job)
                self._changed.notify_all()

    def _next(self, credit: float) -> list[Job]:
        """Return the jobs to run next, prompt or long; empty when all are done and the scheduler is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._prompt or self._long or self._closed)
            return self._prompt if self._prompt and (credit > 0 or not self._long) else self._long

    def _choose(self, jobs: list[Job]) -> Job:
        """Return the next one of these jobs; only this thread removes jobs."""
        if jobs is self._prompt:
            return jobs[0]
        self._oldest = not self._oldest
        return jobs[0] if self._oldest else min(tuple(jobs), key=lambda job: job.left)


class PendingResponses:
    """Signals to the launcher that responses are pending, by a file beside the shared memory of this process.

    If this process dies, Triton answers the requests that execute() holds, but never those whose responses were to
    be sent later. In that case the launcher restarts Triton, and clients retry.
    """

    def __init__(self, path: Path | None = None) -> None:
        # A stub's first argument is its model, the second the name of its shared memory.
        self._path = path or Path("/dev/shm", Path("/proc/self/cmdline").read_text().split("\0")[2] + ".pending")
        self._count = 0
        self._lock = threading.Lock()

    def add(self, responses: int) -> None:
        """Change the number of pending responses."""
        with self._lock:
            self._count += responses
            if self._count:
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)
