"""One HTTP request and its answer over the standard library's connections, with a deadline and a maximum size.

The time limit of these connections restarts with every packet, and the server itself declares the size of its
answer. Here the deadline holds for the whole exchange, and every byte received counts, headers included.
"""

import http.client
import io
import socket
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from tritone_client.errors import MAX_ANSWER, Failure

HEADERS = 1 << 20  # bytes allowed in addition to the answer itself


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
    compressed, because it may become too large when it is decompressed.
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
        raise Failure("INTERNAL", f"the answer is compressed ({encoding}), which was not requested")
    return response, response.read()


class Response(http.client.HTTPResponse):
    """A response that is read through `LimitedStream`."""

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(LimitedStream(self.fp.detach(), sock, deadline))


class LimitedStream(io.RawIOBase):
    """The bytes that arrive at a socket until a deadline, at most `MAX_ANSWER` + `HEADERS` of them."""

    def __init__(self, stream: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._stream, self._socket, self._deadline = stream, sock, deadline
        self._room = MAX_ANSWER + HEADERS

    def readable(self) -> bool:
        """Return True: the stream can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what has arrived into `buffer`, in the time that is left, and return the number of bytes."""
        self._socket.settimeout(left(self._deadline))
        count = self._stream.readinto(buffer)
        self._room -= count or 0
        if self._room < 0:
            raise too_large()
        return count

    def close(self) -> None:
        """Close the underlying stream, which would otherwise keep the socket open."""
        self._stream.close()
        super().close()


def left(deadline: float) -> float:
    """Return the seconds until the deadline. Raises `TimeoutError` after it."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def too_large() -> Failure:
    """Return the failure for an answer beyond `MAX_ANSWER`, with gRPC's status and text."""
    return Failure("RESOURCE_EXHAUSTED", f"Received message larger than max ({MAX_ANSWER})")
