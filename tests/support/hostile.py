"""Servers that mean harm: one that sends any bytes to HTTP clients, one that has any answer over gRPC."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

Bytes = dict[str, tuple[str, list[int], bytes]]
"""Tensors by name as they are sent: type, shape, content."""


def encoded(tensors: dict[str, np.ndarray]) -> Bytes:
    """Tensors as Triton sends them."""
    return {
        name: (
            np_to_triton_dtype(array.dtype),
            list(array.shape),
            serialize_byte_tensor(array).item() if array.dtype == object else array.tobytes(),
        )
        for name, array in tensors.items()
    }


def http_answer(tensors: Bytes) -> bytes:
    """An answer of Triton's HTTP protocol."""
    outputs = [
        {"name": name, "datatype": kind, "shape": shape, "parameters": {"binary_data_size": len(content)}}
        for name, (kind, shape, content) in tensors.items()
    ]
    head = json.dumps({"model_name": "m", "outputs": outputs}).encode()
    body = head + b"".join(content for _, _, content in tensors.values())
    return (
        f"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: {len(head)}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@contextmanager
def http_server(send: Callable[[socket.socket], object]) -> Iterator[str]:
    """The address of a server that reads what has come, does `send`, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # closed
            while True:
                connection = listener.accept()[0]
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client has left
            connection.recv(1 << 20)
            send(connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def trickle(connection: socket.socket, data: bytes) -> None:
    """Send a byte at a time, for ten seconds."""
    for number in range(100):
        connection.sendall(data[number % len(data) :][:1])
        time.sleep(0.1)


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Triton's gRPC protocol with one answer for all."""

    def __init__(self, tensors: Bytes) -> None:
        self.tensors = tensors

    def ModelInfer(self, request: Any, context: Any) -> Any:
        """The answer."""
        answer = service_pb2.ModelInferResponse()
        for name, (kind, shape, content) in self.tensors.items():
            answer.outputs.add(name=name, datatype=kind, shape=shape)
            answer.raw_output_contents.append(content)
        return answer


@contextmanager
def grpc_server(tensors: Bytes, compression: grpc.Compression | None = None) -> Iterator[str]:
    """The address of a gRPC server that answers with these tensors."""
    options = [("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(2), options=options, compression=compression)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(tensors), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(0)
