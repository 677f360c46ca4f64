"""Triton's HTTP protocol with binary tensors, over the connections of the standard library.

tritonclient's own HTTP client is bound to one thread (gevent), its time limit restarts with every packet, and for
TLS it needs functions that Python 3.12 removed; only its codec is used.
"""

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import tritonclient.http as triton_http

from tritone_client.errors import Failure, reading_answer
from tritone_client.transport.address import Address
from tritone_client.transport.common import Statistics, Tensors, Tls, arrays, by_name, tensors
from tritone_client.transport.exchange import exchange
from tritone_client.transport.ports import is_http2, reason, wrong_port
from tritone_client.transport.request import Request

# Triton's own mapping of its error codes to HTTP; a proxy's 502 means the same as 503.
HTTP_STATUS = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 502: "UNAVAILABLE", 503: "UNAVAILABLE"}


class HttpTransport:
    """Triton's HTTP protocol with binary tensors, over a pool of persistent connections."""

    def __init__(self, address: Address, tls: Tls, headers: Mapping[str, str]) -> None:
        # Pages of other web sites cannot send this header; a server may require it (--require-header).
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
        """Run one inference, and return the requested outputs by name."""
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
        """Return whether the server is live."""
        return self._exchange("GET", "/v2/health/live", timeout)[0].status == 200

    def ready(self, timeout: float, model: str = "") -> bool:
        """Return whether the server, or one of its models, can take requests."""
        path = f"/v2/models/{quote(model, safe='')}/ready" if model else "/v2/health/ready"
        return self._exchange("GET", path, timeout)[0].status == 200

    def statistics(self, timeout: float) -> Statistics:
        """Return Triton's counters of each loaded model, by name."""
        return by_name(self._json("GET", "/v2/models/stats", timeout))

    def metadata(self, model: str, timeout: float) -> dict[str, Any]:
        """Return Triton's metadata of a model."""
        with reading_answer():
            return dict(self._json("GET", f"/v2/models/{quote(model, safe='')}", timeout))

    def config(self, model: str, timeout: float) -> dict[str, Any]:
        """Return a model's configuration."""
        with reading_answer():
            return dict(self._json("GET", f"/v2/models/{quote(model, safe='')}/config", timeout))

    def close(self) -> None:
        """Cancel all calls and close all connections."""
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
        """Raise the failure that an answer with a status other than 200 reports."""
        if response.status == 200:
            return
        try:
            raise Failure(HTTP_STATUS.get(response.status, "INTERNAL"), str(json.loads(data)["error"]))
        except (ValueError, KeyError, TypeError, RecursionError):  # the text of a proxy, not of Triton
            status = "UNAVAILABLE" if HTTP_STATUS.get(response.status) == "UNAVAILABLE" else "INTERNAL"
            raise Failure(status, f"HTTP status {response.status} {response.reason}") from None

    def _exchange(
        self, method: str, path: str, timeout: float, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Send one request, and return its answer, whatever its status."""
        deadline = time.monotonic() + timeout
        connection = self._take()
        reusable = False
        try:
            full_path, all_headers = self._address.path + path, {**self._headers, **(headers or {})}
            response, data = exchange(connection, method, full_path, deadline, body, all_headers)
            reusable = not response.will_close
            return response, data
        except TimeoutError:
            raise Failure("DEADLINE_EXCEEDED", f"no answer within {timeout:.1f} s") from None
        except (OSError, http.client.HTTPException) as error:
            if self._closed:
                raise Failure("CANCELLED", "the client was closed") from None
            if is_http2(error):
                raise wrong_port(self._address) from None
            raise Failure("UNAVAILABLE", reason(error)) from None
        finally:
            self._give_back(connection, reusable)

    def _take(self) -> http.client.HTTPConnection:
        """Return an idle connection, or a new one that is not connected yet."""
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
