"""Many questions to one server: a few in flight at a time, answered in order, interrupted at once by Ctrl-C."""

import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from tritone_client.client import Client
from tritone_client.defaults import IN_FLIGHT
from tritone_client.errors import TritoneError

Question = TypeVar("Question")
T = TypeVar("T")


def in_order(
    client: Client,
    ask: Callable[[Question], T],
    questions: Sequence[Question],
    *,
    at_once: int = IN_FLIGHT,
    progress: Callable[[Sequence[Question]], Iterable[Question]] = iter,
    waiting: Callable[[Question], object] = lambda question: None,
) -> Generator[tuple[Question, T | TritoneError], None, None]:
    """Yield each question with its answer, in order, while `at_once` calls are in flight.

    `progress` wraps the questions to show the progress; `waiting` is called repeatedly with the question whose
    answer is due. Close this generator, so that an interruption at any point ends the calls; closing it before its
    end closes the client.
    """

    def attempt(question: Question) -> T | TritoneError:
        try:
            return ask(question)
        except TritoneError as error:
            return error

    client.ping()  # report a missing server at once, not after a timeout for each question
    pool = ThreadPoolExecutor(at_once)
    try:
        with interruption() as interrupt:
            calls = deque(pool.submit(attempt, question) for question in questions)
            for question in progress(questions):
                call = calls.popleft()
                while not wait([call], timeout=0.05).done:
                    interrupt()
                    waiting(question)
                interrupt()
                yield question, call.result()
    except BaseException:
        client.close()  # ends the calls in flight, so that an interruption does not wait for them
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def interruption() -> Iterator[Callable[[], None]]:
    """Give a function that raises KeyboardInterrupt if Ctrl-C was pressed; a second Ctrl-C raises it at once.

    Python's own handler raises it anywhere in the main thread, also between the steps by which a future releases
    its lock and acquires it again: a RuntimeError about that lock would be raised instead.
    """
    previous = signal.getsignal(signal.SIGINT)
    pressed = False

    def remember(number: int, frame: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, previous)

    def interrupt() -> None:
        if pressed:
            raise KeyboardInterrupt

    # Not if Ctrl-C is ignored, as in a shell's background, nor if Python does not allow a handler here.
    replaces = previous is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if replaces:
        signal.signal(signal.SIGINT, remember)
    try:
        yield interrupt
    finally:
        if replaces:
            signal.signal(signal.SIGINT, previous)
