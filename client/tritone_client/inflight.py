"""Many questions to one server: a few in flight at a time, answered in order, ended at once by Ctrl-C."""

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
Answer = TypeVar("Answer")


def in_order(
    client: Client,
    ask: Callable[[Question], Answer],
    questions: Sequence[Question],
    *,
    at_once: int = IN_FLIGHT,
    progress: Callable[[Sequence[Question]], Iterable[Question]] = iter,
) -> Generator[tuple[Question, Answer | TritoneError], None, None]:
    """`ask` the server each question, `at_once` at a time; the answers in the questions' order.

    `progress` wraps what is gone through, to show how far it is. To be closed, so that an interruption ends the
    calls wherever it strikes; closed before its end, it closes the client.
    """

    def attempt(question: Question) -> Answer | TritoneError:
        try:
            return ask(question)
        except TritoneError as error:
            return error

    client.ping()  # a server that is not there is told at once, not after a timeout for each question
    pool = ThreadPoolExecutor(at_once)
    try:
        with interruption() as interrupt:
            calls = deque(pool.submit(attempt, question) for question in questions)
            for question in progress(questions):
                call = calls.popleft()
                while not wait([call], timeout=0.05).done:
                    interrupt()
                interrupt()
                yield question, call.result()
    except BaseException:
        client.close()  # ends the calls in flight, so that an interruption does not wait for them
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def interruption() -> Iterator[Callable[[], None]]:
    """What raises KeyboardInterrupt if Ctrl-C was pressed by now; pressed twice, it is raised at once.

    Python raises it wherever the main thread stands, also between the steps by which a future gives its lock
    back and takes it again: then a RuntimeError about that lock comes out instead.
    """
    usual = signal.getsignal(signal.SIGINT)
    struck = False

    def note(number: int, frame: object) -> None:
        nonlocal struck
        struck = True
        signal.signal(signal.SIGINT, usual)

    def interrupt() -> None:
        if struck:
            raise KeyboardInterrupt

    # Not where Ctrl-C is ignored, as in a shell's background, nor where Python lets no handler be set.
    mine = usual is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if mine:
        signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        if mine:
            signal.signal(signal.SIGINT, usual)
