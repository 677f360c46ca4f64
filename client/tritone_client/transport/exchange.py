"""One HTTP request and its answer over the standard library's connections, until a deadline and up to a size.

Their own time limit begins anew with every packet, and a server says itself how much it sends: here the time of
the whole exchange and all that is received are counted, headers as well.
"""

import http.client
import io
import socket
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from tritone_client.errors import MAX_ANSWER, Failure

HEADERS = 1 << 20  # bytes that may come beside the answer itself


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    deadline: float,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a request and read its answer, whatever its status, until `deadline` of the monotonic clock.

    Raises `TimeoutError`, `OSError`, `http.client.HTTPException`; `Failure` for an answer that is too large, or
    compressed, as which it could become so.
    """
    if connection.sock is None:
        connection.timeout = left(deadline)
        connection.connect()
    connection.sock.settimeout(left(deadline))
    connection.response_class = partial(Response, deadline=deadline)  # type: ignore[assignment]
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    if (response.length or 0) > MAX_ANSWER:
        raise too_large()
    encoding = response.headers.get("Content-Encoding", "identity")
    if response.status == 200 and encoding != "identity":
        raise Failure("INTERNAL", f"the answer is compressed ({encoding}), which was not asked for")
    return response, response.read()


class Response(http.client.HTTPResponse):
    """A response that is received through `Received`."""

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(Received(self.fp.detach(), sock, deadline))


class Received(io.RawIOBase):
    """What arrives at a socket until a deadline, no more than `MAX_ANSWER` and `HEADERS` of it."""

    def __init__(self, stream: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._stream, self._socket, self._deadline = stream, sock, deadline
        self._room = MAX_ANSWER + HEADERS

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """What has arrived, in the time that is left."""
        self._socket.settimeout(left(self._deadline))
        count = self._stream.readinto(buffer)
        self._room -= count or 0
        if self._room < 0:
            raise too_large()
        return count

    def close(self) -> None:
        """Close what lies beneath, which keeps the socket open otherwise."""
        self._stream.close()
        super().close()


def left(deadline: float) -> float:
    """Seconds until the deadline. Raises `TimeoutError` behind it."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def too_large() -> Failure:
    """An answer beyond `MAX_ANSWER`, in gRPC's words."""
    return Failure("RESOURCE_EXHAUSTED", f"Received message larger than max ({MAX_ANSWER})")
