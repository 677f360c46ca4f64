"""Triton's gRPC protocol on tritonclient's client; `grpc_aio` is the same for event loops."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from tritone_client.errors import MAX_ANSWER, Failure, reading_answer
from tritone_client.transport.address import Address
from tritone_client.transport.common import Statistics, Tensors, Tls, arrays, by_name, tensors
from tritone_client.transport.ports import check_grpc_port
from tritone_client.transport.request import Request

GRPC_OPTIONS = [
    ("grpc.max_send_message_length", -1),  # unlimited: long recordings
    ("grpc.max_receive_message_length", MAX_ANSWER),
    (
        "grpc.compression_enabled_algorithms_bitset",
        1,
    ),  # none: the limit would hold for compressed lengths
    # Triton disconnects clients that ping more often than every five minutes while no data flows.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # With the default pauses of 1 s, growing to 120 s, a client would miss that the server is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class GrpcTransport:
    """Triton's gRPC protocol; any number of threads may share its channel."""

    def __init__(self, address: Address, tls: Tls, headers: Mapping[str, str]) -> None:
        self._address, self._headers = address, grpc_headers(headers)
        self._client = triton_grpc.InferenceServerClient(**grpc_channel(address, tls))
        self._closed = self._answered = False

    def infer(self, request: Request, timeout: float) -> Tensors:
        """Run one inference, and return the requested outputs by name."""
        inputs, outputs = tensors(triton_grpc, request)
        result = self._call("infer", timeout, request.model, inputs, outputs=outputs)
        return arrays(result, request)

    def live(self, timeout: float) -> bool:
        """Return whether the server is live."""
        return bool(self._call("is_server_live", timeout))

    def ready(self, timeout: float, model: str = "") -> bool:
        """Return whether the server, or one of its models, can take requests."""
        name = ("is_model_ready", timeout, model) if model else ("is_server_ready", timeout)
        return bool(self._call(*name))

    def statistics(self, timeout: float) -> Statistics:
        """Return Triton's counters of each loaded model, by name."""
        return by_name(self._call("get_inference_statistics", timeout, as_json=True))

    def metadata(self, model: str, timeout: float) -> dict[str, Any]:
        """Return Triton's metadata of a model."""
        return dict(self._call("get_model_metadata", timeout, model, as_json=True))

    def config(self, model: str, timeout: float) -> dict[str, Any]:
        """Return a model's configuration."""
        with reading_answer():
            return dict(self._call("get_model_config", timeout, model, as_json=True)["config"])

    def close(self) -> None:
        """Cancel all calls and close the channel."""
        self._closed = True
        self._client.close()

    def _call(self, method: str, timeout: float, *args: Any, **kwargs: Any) -> Any:
        try:
            result = getattr(self._client, method)(*args, client_timeout=timeout, headers=self._headers, **kwargs)
        except InferenceServerException as error:
            failure = grpc_failure(error, self._closed)
            if not (self._answered or self._closed):
                check_grpc_port(self._address, failure)
            raise failure from None
        except ValueError as error:  # gRPC raises this if the channel was closed
            raise Failure("CANCELLED", str(error)) from None
        self._answered = True
        return result


def grpc_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with lower-case names, as gRPC rejects capitals."""
    return {name.lower(): value for name, value in headers.items()}


def grpc_channel(address: Address, tls: Tls) -> dict[str, Any]:
    """Return the arguments for tritonclient's gRPC clients. Reads the TLS files."""
    credentials = None
    if address.tls:
        files = (tls.root_certificates, tls.private_key, tls.certificate)
        credentials = grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))
    return {"url": address.target, "creds": credentials, "channel_args": GRPC_OPTIONS}


def grpc_failure(error: InferenceServerException, closed: bool) -> Failure:
    """Return the failure for an exception of tritonclient; `closed` is whether the user closed the client."""
    status = (error.status() or "INTERNAL").removeprefix("StatusCode.")
    if status == "CANCELLED" and not closed:  # not by us: a stopping server cancels its calls
        return Failure("UNAVAILABLE", "the server is stopping")
    return Failure(status, error.message() or "")
