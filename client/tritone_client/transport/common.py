"""What the transports share: their interface, TLS files, and tensors in the classes of tritonclient.

All methods of a transport take the seconds left for them and raise `Failure`, or `InferenceFailed` for an answer
that cannot be read. No answer may be larger than `MAX_ANSWER`.
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
# Of the loaded models alone: unlike the repository index, which lists all and may be closed.
Statistics = dict[str, dict[str, Any]]


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
        """Return Triton's metadata of a model: among others its platform."""

    def config(self, model: str, timeout: float) -> dict[str, Any]:
        """Return a model's configuration."""

    def close(self) -> None:
        """End all calls and connections."""


@contextmanager
def tls_files(address: Address, tls: Tls) -> Iterator[None]:
    """Raise `InvalidUrl` for TLS files that the address has no use for, or that cannot be read inside."""
    if tls != Tls() and not address.tls:
        raise InvalidUrl(f"Certificates need an encrypted address, not {address}: write grpcs:// or https://.")
    try:
        yield
    except OSError as error:
        raise InvalidUrl(f"The TLS files for {address} cannot be used: {error}.") from None


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
