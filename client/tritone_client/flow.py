"""Calls that are written once, for threads and for event loops.

A flow is a generator: it yields steps, gets their results, and returns the answer. `run` carries the steps out in
a thread, `run_async` in an event loop.
"""

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Attempt:
    """Call a transport, which has `seconds` for it; in an event loop the call returns an awaitable."""

    call: Callable[[float], Any]
    seconds: float


@dataclass(frozen=True)
class Pause:
    """Wait before the next attempt."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Call a function; `is_long` if it would hold an event loop up, as reading a file does."""

    function: Callable[[], Any]
    is_long: bool


Step = Attempt | Pause | Work
Flow = Generator[Step, Any, T]


def run(flow: Flow[T], carry_out: Callable[[Step], Any]) -> T:
    """Carry out the steps of a flow; returns what it returns, raises what it raises."""
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
    """Carry out the steps of a flow in an event loop; as `run`."""
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
