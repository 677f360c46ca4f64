"""Requests over the wire: `GrpcTransport` and `HttpTransport` with the same methods, usable from several threads.

Both use tritonclient's tensors and codecs. tritonclient's own HTTP client is left aside: it is bound to one thread
(gevent), its time limit starts anew with every packet, and with TLS it needs functions that Python 3.12 dropped.
The standard library's connections, kept in a pool, have none of these limits.

All methods take the seconds left for them and raise `Failure`, or `InferenceFailed` for an answer that is none. No
answer may be larger than `MAX_ANSWER`.
"""

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import grpc
import numpy.typing as npt
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tritone_client.address import Address
from tritone_client.errors import MAX_ANSWER, Failure, InvalidUrl, reading_answer
from tritone_client.exchange import exchange
from tritone_client.request import Request

Tensors = dict[str, npt.NDArray[Any]]
# Of the loaded models alone: unlike the repository index, which lists all and may be closed.
Statistics = dict[str, dict[str, Any]]

GRPC_OPTIONS = [
    ("grpc.max_send_message_length", -1),  # unlimited: long recordings
    ("grpc.max_receive_message_length", MAX_ANSWER),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: what is compressed has that length behind it
    # Triton hangs up on clients that ping more often than every five minutes while no data flows.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Defaults of 1 s growing to 120 s would keep a client away from a server that is long back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]

# Triton's own mapping of its error codes to HTTP; 502 is a proxy's word for the same as 503.
HTTP_STATUS = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 502: "UNAVAILABLE", 503: "UNAVAILABLE"}


@dataclass(frozen=True)
class Tls:
    """PEM files: whom to trust (None: the system's authorities), and what to show to a server that asks."""

    root_certificates: str | None = None
    certificate: str | None = None
    private_key: str | None = None


class Transport(Protocol):
    """What `Client` needs of a protocol."""

    def infer(self, request: Request, timeout: float) -> Tensors:
        """Run one inference; the wanted outputs by name."""

    def live(self, timeout: float) -> bool:
        """Whether the server runs."""

    def ready(self, timeout: float, model: str = "") -> bool:
        """Whether the server, or one of its models, can take requests."""

    def statistics(self, timeout: float) -> Statistics:
        """What Triton has counted of each loaded model, by name."""

    def metadata(self, model: str, timeout: float) -> dict[str, Any]:
        """Triton's metadata of a model: among others its platform."""

    def close(self) -> None:
        """End all calls and connections."""


def open_transport(address: Address, tls: Tls, headers: Mapping[str, str]) -> Transport:
    """The transport for an address. Connects at the first call."""
    with tls_files(address, tls):
        return (GrpcTransport if address.protocol == "grpc" else HttpTransport)(address, tls, headers)


@contextmanager
def tls_files(address: Address, tls: Tls) -> Iterator[None]:
    """Raise `InvalidUrl` for TLS files that the address has no use for, or that cannot be read inside."""
    if tls != Tls() and not address.tls:
        raise InvalidUrl(f"Certificates need an encrypted address, not {address}: write grpcs:// or https://.")
    try:
        yield
    except OSError as error:
        raise InvalidUrl(f"The TLS files for {address} cannot be used: {error}.") from None


class GrpcTransport:
    """Triton's gRPC protocol; its channel serves any number of threads."""

    def __init__(self, address: Address, tls: Tls, headers: Mapping[str, str]) -> None:
        self._headers = grpc_headers(headers)
        self._client = triton_grpc.InferenceServerClient(**grpc_channel(address, tls))
        self._closed = False

    def infer(self, request: Request, timeout: float) -> Tensors:
        """Run one inference; the wanted outputs by name."""
        inputs, outputs = tensors(triton_grpc, request)
        result = self._call("infer", timeout, request.model, inputs, outputs=outputs)
        return arrays(result, request)

    def live(self, timeout: float) -> bool:
        """Whether the server runs."""
        return bool(self._call("is_server_live", timeout))

    def ready(self, timeout: float, model: str = "") -> bool:
        """Whether the server, or one of its models, can take requests."""
        name = ("is_model_ready", timeout, model) if model else ("is_server_ready", timeout)
        return bool(self._call(*name))

    def statistics(self, timeout: float) -> Statistics:
        """What Triton has counted of each loaded model, by name."""
        return by_name(self._call("get_inference_statistics", timeout, as_json=True))

    def metadata(self, model: str, timeout: float) -> dict[str, Any]:
        """Triton's metadata of a model."""
        return dict(self._call("get_model_metadata", timeout, model, as_json=True))

    def close(self) -> None:
        """End all calls and the channel."""
        self._closed = True
        self._client.close()

    def _call(self, method: str, timeout: float, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self._client, method)(*args, client_timeout=timeout, headers=self._headers, **kwargs)
        except InferenceServerException as error:
            raise grpc_failure(error, self._closed) from None
        except ValueError as error:  # gRPC's way to say that the channel was closed
            raise Failure("CANCELLED", str(error)) from None


class HttpTransport:
    """Triton's HTTP protocol with binary tensors, over a pool of kept connections."""

    def __init__(self, address: Address, tls: Tls, headers: Mapping[str, str]) -> None:
        # A header that the page of another web site cannot send: a server may require it (--require-header).
        self._address, self._headers = address, {"x-tritone": "1", **headers}
        self._context = None
        if address.tls:
            self._context = ssl.create_default_context(cafile=tls.root_certificates)
            if tls.certificate:
                self._context.load_cert_chain(tls.certificate, tls.private_key)
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._closed = False

    def infer(self, request: Request, timeout: float) -> Tensors:
        """Run one inference; the wanted outputs by name."""
        inputs, outputs = tensors(triton_http, request)
        client = triton_http.InferenceServerClient
        body, json_bytes = client.generate_request_body(inputs, outputs=outputs)
        headers = {"Inference-Header-Content-Length": str(json_bytes), "Content-Type": "application/octet-stream"}
        path = f"/v2/models/{quote(request.model, safe='')}/infer"
        response, data = self._exchange("POST", path, timeout, body, headers)
        self._check(response, data)
        with reading_answer():
            header_length = response.headers["Inference-Header-Content-Length"]
            return arrays(client.parse_response_body(data, header_length=header_length), request)

    def live(self, timeout: float) -> bool:
        """Whether the server runs."""
        return self._exchange("GET", "/v2/health/live", timeout)[0].status == 200

    def ready(self, timeout: float, model: str = "") -> bool:
        """Whether the server, or one of its models, can take requests."""
        path = f"/v2/models/{quote(model, safe='')}/ready" if model else "/v2/health/ready"
        return self._exchange("GET", path, timeout)[0].status == 200

    def statistics(self, timeout: float) -> Statistics:
        """What Triton has counted of each loaded model, by name."""
        return by_name(self._json("GET", "/v2/models/stats", timeout))

    def metadata(self, model: str, timeout: float) -> dict[str, Any]:
        """Triton's metadata of a model."""
        with reading_answer():
            return dict(self._json("GET", f"/v2/models/{quote(model, safe='')}", timeout))

    def close(self) -> None:
        """End all calls and connections."""
        with self._lock:
            self._closed = True
            for connection in self._busy:
                if connection.sock:
                    with suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for an answer
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _json(self, method: str, path: str, timeout: float) -> Any:
        response, data = self._exchange(method, path, timeout)
        self._check(response, data)
        with reading_answer():
            return json.loads(data)

    @staticmethod
    def _check(response: http.client.HTTPResponse, data: bytes) -> None:
        """Raise the failure that an answer other than 200 tells of."""
        if response.status == 200:
            return
        try:
            raise Failure(HTTP_STATUS.get(response.status, "INTERNAL"), str(json.loads(data)["error"]))
        except (ValueError, KeyError, TypeError, RecursionError):  # not Triton's words: those of a proxy
            status = "UNAVAILABLE" if HTTP_STATUS.get(response.status) == "UNAVAILABLE" else "INTERNAL"
            raise Failure(status, f"HTTP status {response.status} {response.reason}") from None

    def _exchange(
        self, method: str, path: str, timeout: float, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """One request and its answer, whatever its status."""
        deadline = time.monotonic() + timeout
        connection = self._take()
        reusable = False
        try:
            whole_path, all_headers = self._address.path + path, {**self._headers, **(headers or {})}
            response, data = exchange(connection, method, whole_path, deadline, body, all_headers)
            reusable = not response.will_close
            return response, data
        except TimeoutError:
            raise Failure("DEADLINE_EXCEEDED", f"no answer within {timeout:.1f} s") from None
        except (OSError, http.client.HTTPException) as error:
            if self._closed:
                raise Failure("CANCELLED", "the client was closed") from None
            raise Failure("UNAVAILABLE", getattr(error, "strerror", None) or str(error)) from None
        finally:
            self._give_back(connection, reusable)

    def _take(self) -> http.client.HTTPConnection:
        """An idle connection, or a new one that is not connected yet."""
        with self._lock:
            if self._closed:
                raise Failure("CANCELLED", "the client was closed")
            if self._idle:
                connection = self._idle.pop()
            elif self._context:
                host, port = self._address.host, self._address.port
                connection = http.client.HTTPSConnection(host, port, context=self._context)
            else:
                connection = http.client.HTTPConnection(self._address.host, self._address.port)
            self._busy.add(connection)
            return connection

    def _give_back(self, connection: http.client.HTTPConnection, reusable: bool) -> None:
        with self._lock:
            self._busy.remove(connection)
            if reusable and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()


def tensors(module: Any, request: Request) -> tuple[list[Any], list[Any]]:
    """Inputs and requested outputs of `request` in the classes of tritonclient's module for one protocol."""
    inputs = [
        module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
        for name, array in request.inputs.items()
    ]
    return inputs, [module.InferRequestedOutput(name) for name in request.outputs]


def arrays(result: Any, request: Request) -> Tensors:
    """The wanted outputs by name, None for one that is missing. Raises `InferenceFailed`."""
    with reading_answer():
        return {name: result.as_numpy(name) for name in request.outputs}


def by_name(statistics: Mapping[str, Any]) -> Statistics:
    """Triton's statistics as a dictionary. Raises `InferenceFailed`."""
    with reading_answer():
        return {str(entry["name"]): dict(entry) for entry in statistics.get("model_stats", [])}


def grpc_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as gRPC takes them: it refuses capitals."""
    return {name.lower(): value for name, value in headers.items()}


def grpc_channel(address: Address, tls: Tls) -> dict[str, Any]:
    """What tritonclient's gRPC clients are made with. Reads the TLS files."""
    credentials = None
    if address.tls:
        files = (tls.root_certificates, tls.private_key, tls.certificate)
        credentials = grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))
    return {"url": address.target, "creds": credentials, "channel_args": GRPC_OPTIONS}


def grpc_failure(error: InferenceServerException, closed: bool) -> Failure:
    """What tritonclient's gRPC clients raised; `closed` tells whether the client was closed by its user."""
    status = (error.status() or "INTERNAL").removeprefix("StatusCode.")
    if status == "CANCELLED" and not closed:  # not by us: a server that stops ends its calls so
        return Failure("UNAVAILABLE", "the server is stopping")
    return Failure(status, error.message() or "")
