"""The engine of `tritone bulk`: any number of files, a few in flight at a time, until each of them has a row.

A file's own failure is its row. A server that is away, or has no room, is none: then that file is asked again.

 * Full queue: the worker whose file was refused pauses, longer each time, which leaves fewer in flight.
 * Away: all workers wait while one asks again and again what a little noise is. When that is answered, the files
   that were in flight are asked alone, one after another, and then all go on. A file that takes the server away
   whenever it is alone with it gets a row, so that one recording cannot end the run for all others.
 * Late: so many in flight may be more than a slow server answers in time. What was late is asked alone in the same
   way, and has a row where it is late then, too.
"""

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from threading import Lock
from typing import Protocol

import numpy as np

from tritone_client.answer import Answer
from tritone_client.bulk.results import Results
from tritone_client.bulk.rows import Outcome
from tritone_client.bulk.sources import Found
from tritone_client.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRecording,
    ServerBusy,
    ServerUnavailable,
    TritoneError,
    UnknownModel,
)
from tritone_client.transport import retry
from tritone_client.transport.request import Recording, encoded

READERS = 32  # files that are read at a time, at most: some lie on the other side of a network
LIVES = 3  # how often a server may go away over a recording that it has to itself
EVERY = 1.0  # seconds between two looks: rows to the disk, progress to the screen
MEMORY = 30.0  # seconds that the rate is a mean over
NOTES = 100  # different notes that are counted

AWAY = (ServerUnavailable, UnknownModel)  # a server that has just been restarted may not have its models yet


class Stopped(TritoneError):
    """The run ended before its end; its rows so far are kept."""


class Ask(Protocol):
    """`AsyncClient.classify` or `emotion` with model and options; without retries, which are ours."""

    def __call__(self, recording: Recording) -> Awaitable[Answer]:
        """The answer to a recording."""


class Bulk:
    """One run: `await run(files)` returns when each file has a row.

    Parameters
    ----------
    ask : asks the server once.
    ping : raises `TritoneError` where no server is.
    results : where the rows go.
    in_flight : files that are read or asked at a time.
    patience : seconds without any answer after which a server that is away, or refuses, ends the run.
    tell : says a sentence to whom it concerns.

    Attributes
    ----------
    asked, failed, for_review : files that this run wrote rows of, how many of them failed or need a review.
    skipped : files that had a row from before, or were named before.
    notes : how many answers came with which note.
    waiting : whether the server is away.
    """

    def __init__(
        self,
        ask: Ask,
        ping: Callable[[], Awaitable[None]],
        results: Results,
        *,
        in_flight: int = 16,
        patience: float = 300.0,
        tell: Callable[[str], object] = print,
    ) -> None:
        self.asked = self.failed = self.for_review = self.skipped = 0
        self.notes, self.waiting = Counter[str](), False
        self._ask, self._ping, self._results, self._tell = ask, ping, results, tell
        self._in_flight, self._patience = in_flight, patience
        self._pool = ThreadPoolExecutor(min(in_flight, READERS), "bulk")
        self._source = Lock()
        self._answered_at = self._started = time.monotonic()
        self._pace = deque([(self._started, 0)])
        self._suspects = self._late = 0

    async def run(self, files: Iterator[Found], look: Callable[[], object] = lambda: None) -> None:
        """Ask for each file that has no row yet, and `look` once a second.

        Raises `Stopped` where the server did not come back, `OutputFailed`, `InvalidRecording` for a list that
        cannot be read on. Cancelled, it ends the calls in flight.
        """
        self._admitted, self._alone = asyncio.Event(), asyncio.Lock()
        self._admitted.set()
        workers = [asyncio.create_task(self._work(files)) for _ in range(self._in_flight)]
        working = set(workers)
        try:
            while working:
                done, working = await asyncio.wait(working, timeout=EVERY, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
                # Not in our own threads, which may all be waiting for a list to be written on.
                await asyncio.to_thread(self._results.sync)
                self._pace.append((time.monotonic(), self.asked))
                while self._pace[-1][0] - self._pace[0][0] > MEMORY:
                    self._pace.popleft()
                look()
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def done(self) -> int:
        """How many of the files that were named have a row."""
        return self.asked + self.skipped

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Files per second of late."""
        (start, before), now = self._pace[0], time.monotonic()
        return (self.asked - before) / (now - start) if now > start else 0.0

    async def _work(self, files: Iterator[Found]) -> None:
        loop = asyncio.get_running_loop()
        while taken := await loop.run_in_executor(self._pool, self._take, files):
            file, recording = taken
            answer = recording if isinstance(recording, TritoneError) else await self._answer(recording)
            self._results.add(file, answer)
            self._count(answer)

    def _take(self, files: Iterator[Found]) -> tuple[str, bytes | TritoneError] | None:
        """The next file to ask, with its bytes or why there are none; None at the end. For several threads."""
        with self._source:
            found = next((each for each in files if self._is_new(each[0])), None)
        if found is None:
            return None
        file, error = found
        try:
            # A name is a name: ~ at its beginning is no home.
            return file, error or encoded(os.path.abspath(file) if file.startswith("~") else file)
        except TritoneError as unreadable:
            return file, unreadable

    def _is_new(self, file: str) -> bool:
        is_new = self._results.claim(file)
        self.skipped += not is_new
        return is_new

    def _count(self, answer: Outcome) -> None:
        self.asked += 1
        if isinstance(answer, TritoneError):
            self.failed += 1
            return
        self.for_review += bool(answer.needs_review)
        for note in answer.notes:
            if note in self.notes or len(self.notes) < NOTES:
                self.notes[note] += 1

    async def _answer(self, recording: bytes) -> Outcome:
        """The answer, or the recording's own failure, whatever the server does meanwhile."""
        await self._admitted.wait()
        try:
            return await self._admit(recording)
        except (*AWAY, DeadlineExceeded) as error:
            trouble: TritoneError = error
            since = time.monotonic()
        self._suspects += 1
        self._admitted.clear()
        try:
            async with self._alone:
                for life in range(LIVES):
                    if isinstance(trouble, AWAY) and self._answered_at < since:
                        await self._until_back(trouble)
                    try:
                        return await self._admit(recording)
                    except AWAY as error:
                        trouble, since = error, time.monotonic()
                    except DeadlineExceeded as error:
                        if life:  # at first others may still have been on their way
                            return self._too_late(error)
            return ServerUnavailable(f"The server went away all {LIVES} times that it had this alone: {trouble}")
        finally:
            self._suspects -= 1
            if not self._suspects:
                self._admitted.set()

    async def _admit(self, recording: bytes) -> Outcome:
        """The answer, or the recording's own failure, from a server that is there, if busy.

        Raises `AWAY`, and `DeadlineExceeded` where the server is there.
        """
        start = time.monotonic()
        for attempt in count():
            try:
                answer: Outcome = await self._ask(recording)
            except ServerBusy as error:
                self._check_patience(start, error)
                await asyncio.sleep(retry.pause(attempt))
                continue
            except DeadlineExceeded as error:
                try:
                    await self._ping()
                except TritoneError:
                    raise ServerUnavailable(str(error)) from None
                raise
            except (InvalidRecording, InferenceFailed) as error:
                answer = error
            self._answered_at, self._late = time.monotonic(), 0
            return answer
        raise AssertionError("unreachable")

    def _too_late(self, error: DeadlineExceeded) -> DeadlineExceeded:
        """A file's own lateness. Raises `Stopped` where nothing else is answered: then it is the server's."""
        self._late += 1
        if self._late >= LIVES:
            self._check_patience(0.0, error)
        return error

    async def _until_back(self, away: TritoneError) -> None:
        """Wait until the server answers something. Raises `Stopped`."""
        start, self.waiting = time.monotonic(), True
        self._tell(f"{away} Going on when it is back, for up to {self._patience:g} s.")
        for attempt in count():
            await asyncio.sleep(retry.pause(attempt))
            try:
                await self._ask(noise())
            except (*AWAY, ServerBusy, DeadlineExceeded) as error:
                self._check_patience(start, error)
            except TritoneError:
                break
            else:
                break
        self._answered_at, self.waiting = time.monotonic(), False
        self._tell(f"The server is back after {self._answered_at - start:.0f} s.")

    def _check_patience(self, start: float, error: TritoneError) -> None:
        """Raise `Stopped` if nothing was answered for too long since `start`."""
        if time.monotonic() - max(start, self._answered_at) > self._patience:
            raise Stopped(f"{error} Nothing was answered for {self._patience:g} s.")


async def check_options(ask: Ask) -> None:
    """Raise a `TritoneError` where the server has no answer to anything, before every file fails of it."""
    with suppress(ServerBusy, DeadlineExceeded):
        await ask(noise())


def noise() -> Recording:
    """A second of noise, which no cache has the answer to."""
    return np.random.default_rng().normal(0, 0.1, 16_000).astype(np.float32), 16_000
