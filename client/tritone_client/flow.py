"""Calls that are written once, for threads and for event loops.

A flow is a generator: it yields steps, receives their results, and returns the answer. `run` carries out the steps
in a thread, `run_async` in an event loop.
"""

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Attempt:
    """Call a transport with a limit of `seconds`; in an event loop the call returns an awaitable."""

    call: Callable[[float], Any]
    seconds: float


@dataclass(frozen=True)
class Pause:
    """Wait before the next attempt."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Call a function; `is_long` if it would block an event loop, as reading a file does."""

    function: Callable[[], Any]
    is_long: bool


Step = Attempt | Pause | Work
Flow = Generator[Step, Any, T]


def run(flow: Flow[T], carry_out: Callable[[Step], Any]) -> T:
    """Carry out the steps of a flow, and return its result or raise its exception."""
    try:
        step = next(flow)
        while True:
            try:
                result = carry_out(step)
            except BaseException as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        flow.close()


async def run_async(flow: Flow[T], carry_out: Callable[[Step], Awaitable[Any]]) -> T:
    """Carry out the steps of a flow in an event loop, like `run`."""
    try:
        step = next(flow)
        while True:
            try:
                result = await carry_out(step)
            except BaseException as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        flow.close()
