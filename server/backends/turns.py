"""Whose turn it is on the network: one thread runs it for all requests, the prompt ones between the long.

Lies beside each backend's model.py when Triton runs it.
"""

import threading
import time
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROWS_THAT_WAIT = 256
"""Of all long requests together. More stay in Triton's queue, with its limit and its timeout."""

Result = TypeVar("Result")
Steps = Generator[None, None, Result]
"""Runs the network once from each `yield` to the next, and returns the answer in the end."""


@dataclass(eq=False)
class Job:
    """One or more executions of the network.

    Attributes
    ----------
    steps : runs them
    rows : of a long one, whose memory it holds until the end
    left : of a long one, executions to come
    answer : what `steps` returns
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


class Turns:
    """One thread that runs the network for all jobs, one execution at a time.

    Prompt jobs come first, but after each execution of a long one only for as long as that took: so they wait for
    one such execution, and have half of the time where both have much to do. Of the long ones that with least left
    and the oldest take turns: a recording of two windows does not wait for one of thirty, which goes on
    nevertheless, and hardly more than two hold memory for outputs that are not complete.
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
        """Let a job take part; its answer. A long one waits here until there is room for its rows."""
        with self._changed:
            if long:
                self._changed.wait_for(lambda: self._room(job.rows))
            (self._long if long else self._prompt).append(job)
            self._changed.notify_all()
        return job.answer

    @property
    def has_long(self) -> bool:
        """Whether a long job is not done."""
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
        """Run the network once for one of these jobs, of which `_work` keeps nothing: its answer may be large."""
        job = self._choose(jobs)
        job.step()
        if job.answer.done():
            with self._changed:
                jobs.remove(job)
                self._changed.notify_all()

    def _next(self, credit: float) -> list[Job]:
        """Whose turn it is: the prompt or the long jobs; empty when all is done and closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._prompt or self._long or self._closed)
            return self._prompt if self._prompt and (credit > 0 or not self._long) else self._long

    def _choose(self, jobs: list[Job]) -> Job:
        """The next of them; only this thread removes any."""
        if jobs is self._prompt:
            return jobs[0]
        self._oldest = not self._oldest
        return jobs[0] if self._oldest else min(tuple(jobs), key=lambda job: job.left)


class Owed:
    """Says to the launcher that answers are owed: by a file beside the shared memory of this process.

    Triton answers what execute() holds when this process dies, but never what is to be sent later: then the
    launcher starts it anew, and clients ask again.
    """

    def __init__(self, path: Path | None = None) -> None:
        # Triton's first argument for a stub is its model, the second the name of its shared memory.
        self._path = path or Path("/dev/shm", Path("/proc/self/cmdline").read_text().split("\0")[2] + ".owed")
        self._count = 0
        self._lock = threading.Lock()

    def add(self, answers: int) -> None:
        """So many more, or less, are owed."""
        with self._lock:
            self._count += answers
            if self._count:
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)
