"""The engine of `tritone bulk`: any number of files, a few in flight at a time, until each file has a row.

A failure of the file itself becomes its row. If the server is down or busy instead, the file is sent again:

 * Full queue: the worker whose file was rejected pauses, longer each time, so that fewer files are in flight.
 * Down: all workers wait while one probes the server with a short noise clip. When that is answered, the files
   that were in flight are sent alone, one after another, and then all workers continue. A file that stops the
   server each time it is sent alone gets a row, so that one recording cannot end the run for all others.
 * Timeout: a slow server may not answer all files in flight in time. A file that timed out is sent alone in the
   same way, and gets a row if it times out again.
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
from tritone_client.bulk.sources import Source
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

READERS = 32  # maximum number of files that are read at a time: some may be on a network share
ATTEMPTS_ALONE = 3  # how often a file is sent alone to a server that stops while it has this file
EVERY = 1.0  # seconds between updates: rows to the disk, progress to the screen
MEMORY = 30.0  # seconds over which the rate is averaged
NOTES = 100  # maximum number of different notes that are counted

AWAY = (ServerUnavailable, UnknownModel)  # a server that has just restarted may not have loaded its models yet


class Stopped(TritoneError):
    """The run ended early; its rows so far are kept."""


class Ask(Protocol):
    """`AsyncClient.classify` or `emotion` with model and options, without retries: these are done here."""

    def __call__(self, recording: Recording) -> Awaitable[Answer]:
        """Return the answer to a recording."""


class Bulk:
    """One run: `await run(files)` returns when each file has a row.

    Parameters
    ----------
    ask : sends a recording to the server once.
    ping : raises `TritoneError` if no server answers.
    results : where the rows go.
    in_flight : number of files that are read or sent at a time.
    patience : seconds without any answer after which the run ends, if the server is down or busy.
    report : prints a message for the user.

    Attributes
    ----------
    asked, failed, for_review : number of files that got a row, that failed, and that need review in this run.
    skipped : number of files that already had a row, or were named twice.
    notes : note -> number of answers that had it.
    waiting : whether the run waits for the server.
    """

    def __init__(
        self,
        ask: Ask,
        ping: Callable[[], Awaitable[None]],
        results: Results,
        *,
        in_flight: int = 16,
        patience: float = 300.0,
        report: Callable[[str], object] = print,
    ) -> None:
        self.asked = self.failed = self.for_review = self.skipped = 0
        self.notes, self.waiting = Counter[str](), False
        self._ask, self._ping, self._results, self._report = ask, ping, results, report
        self._in_flight, self._patience = in_flight, patience
        self._pool = ThreadPoolExecutor(min(in_flight, READERS), "bulk")
        self._source = Lock()
        self._answered_at = self._started = time.monotonic()
        self._pace = deque([(self._started, 0)])
        self._suspects = self._late = 0

    async def run(self, files: Iterator[Source], update: Callable[[], object] = lambda: None) -> None:
        """Send each file that has no row yet, and call `update` once a second.

        Raises `Stopped` if the server does not come back, `OutputFailed`, and `InvalidRecording` for a list that
        cannot be read further. Cancelling it cancels the calls in flight.
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
                # Not in the pool, whose threads may all be waiting for the next line of a list.
                await asyncio.to_thread(self._results.sync)
                self._pace.append((time.monotonic(), self.asked))
                while self._pace[-1][0] - self._pace[0][0] > MEMORY:
                    self._pace.popleft()
                update()
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def done(self) -> int:
        """Number of named files that have a row."""
        return self.asked + self.skipped

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Files per second in the last `MEMORY` seconds."""
        (start, before), now = self._pace[0], time.monotonic()
        return (self.asked - before) / (now - start) if now > start else 0.0

    async def _work(self, files: Iterator[Source]) -> None:
        loop = asyncio.get_running_loop()
        while taken := await loop.run_in_executor(self._pool, self._take, files):
            file, recording = taken
            answer = recording if isinstance(recording, TritoneError) else await self._answer(recording)
            self._results.add(file, answer)
            self._count(answer)

    def _take(self, files: Iterator[Source]) -> tuple[str, bytes | TritoneError] | None:
        """Return the next file and its bytes, or why it cannot be read; None at the end. Thread-safe."""
        with self._source:
            source = next((each for each in files if self._is_new(each.path)), None)
        if source is None:
            return None
        file, error = source
        try:
            # A leading ~ is part of the file's name, not the home folder.
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
        """Return the answer, or the recording's own failure, however often the server restarts meanwhile."""
        await self._admitted.wait()
        try:
            return await self._admit(recording)
        except (*AWAY, DeadlineExceeded) as error:
            failure: TritoneError = error
            since = time.monotonic()
        self._suspects += 1
        self._admitted.clear()
        try:
            async with self._alone:
                for attempt in range(ATTEMPTS_ALONE):
                    if isinstance(failure, AWAY) and self._answered_at < since:
                        await self._until_back(failure)
                    try:
                        return await self._admit(recording)
                    except AWAY as error:
                        failure, since = error, time.monotonic()
                    except DeadlineExceeded as error:
                        if attempt:  # at the first, other files may still have been in flight
                            return self._too_late(error)
            return ServerUnavailable(
                f"The server stopped each of {ATTEMPTS_ALONE} times while it had only this file: {failure}"
            )
        finally:
            self._suspects -= 1
            if not self._suspects:
                self._admitted.set()

    async def _admit(self, recording: bytes) -> Outcome:
        """Return the answer, or the recording's own failure; wait while the server is busy.

        Raises the exceptions in `AWAY`, and `DeadlineExceeded` if the server is up.
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
        """Return the timeout of a file. Raises `Stopped` if the server answers no other file either."""
        self._late += 1
        if self._late >= ATTEMPTS_ALONE:
            self._check_patience(0.0, error)
        return error

    async def _until_back(self, away: TritoneError) -> None:
        """Wait until the server answers. Raises `Stopped` after `patience` seconds."""
        start, self.waiting = time.monotonic(), True
        self._report(f"{away} Waiting up to {self._patience:g} s for the server to come back.")
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
        self._report(f"The server is back after {self._answered_at - start:.0f} s.")

    def _check_patience(self, start: float, error: TritoneError) -> None:
        """Raise `Stopped` if there was no answer for more than `patience` seconds since `start`."""
        if time.monotonic() - max(start, self._answered_at) > self._patience:
            raise Stopped(f"{error} There was no answer for {self._patience:g} s.")


async def check_options(ask: Ask) -> None:
    """Raise the `TritoneError` that every file would fail with, such as one for an unknown option."""
    with suppress(ServerBusy, DeadlineExceeded):
        await ask(noise())


def noise() -> Recording:
    """Return a second of random noise, whose answer no cache holds."""
    return np.random.default_rng().normal(0, 0.1, 16_000).astype(np.float32), 16_000
