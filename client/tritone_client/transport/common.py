"""The interface of the transports, their TLS files, and tensors in the classes of tritonclient.

Each method of a transport takes the seconds that it may last. It raises `Failure`, or `InferenceFailed` for an
answer that cannot be read. No answer may be larger than `MAX_ANSWER`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt
from tritonclient.utils import np_to_triton_dtype

from tritone_client.errors import InvalidUrl, reading_answer
from tritone_client.transport.address import Address
from tritone_client.transport.request import Request

Tensors = dict[str, npt.NDArray[Any]]
# Only of the loaded models, unlike the repository index, which lists all models and may be disabled.
Statistics = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Tls:
    """PEM files: authorities to trust (None: the system's), and the client's own certificate and key."""

    root_certificates: str | None = None
    certificate: str | None = None
    private_key: str | None = None


class Transport(Protocol):
    """The methods that `Client` needs from a protocol."""

    def infer(self, request: Request, timeout: float) -> Tensors:
        """Run one inference, and return the requested outputs by name."""

    def live(self, timeout: float) -> bool:
        """Return whether the server is live."""

    def ready(self, timeout: float, model: str = "") -> bool:
        """Return whether the server, or one of its models, can take requests."""

    def statistics(self, timeout: float) -> Statistics:
        """Return Triton's counters of each loaded model, by name."""

    def metadata(self, model: str, timeout: float) -> dict[str, Any]:
        """Return Triton's metadata of a model, such as its platform."""

    def config(self, model: str, timeout: float) -> dict[str, Any]:
        """Return a model's configuration."""

    def close(self) -> None:
        """Cancel all calls and close all connections."""


@contextmanager
def tls_files(address: Address, tls: Tls) -> Iterator[None]:
    """Raise `InvalidUrl` if TLS files are given for an unencrypted address, or if the block cannot read them."""
    if tls != Tls() and not address.tls:
        raise InvalidUrl(f"Certificates need an encrypted address, not {address}: write grpcs:// or https://.")
    try:
        yield
    except OSError as error:
        raise InvalidUrl(f"The TLS files for {address} cannot be used: {error}.") from None


def tensors(module: Any, request: Request) -> tuple[list[Any], list[Any]]:
    """Return inputs and requested outputs in the classes of `module`, tritonclient's module for a protocol."""
    inputs = [
        module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
        for name, array in request.inputs.items()
    ]
    return inputs, [module.InferRequestedOutput(name) for name in request.outputs]


def arrays(result: Any, request: Request) -> Tensors:
    """Return the requested outputs by name, None for a missing one. Raises `InferenceFailed`."""
    with reading_answer():
        return {name: result.as_numpy(name) for name in request.outputs}


def by_name(statistics: Mapping[str, Any]) -> Statistics:
    """Return Triton's statistics as a dictionary. Raises `InferenceFailed`."""
    with reading_answer():
        return {str(entry["name"]): dict(entry) for entry in statistics.get("model_stats", [])}
