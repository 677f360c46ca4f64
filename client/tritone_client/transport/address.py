"""The server's address: `host:port` or a URL, and whether it means gRPC or HTTP."""

from dataclasses import dataclass
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from tritone_client.errors import InvalidUrl

Protocol = Literal["grpc", "http"]

DEFAULT_PORTS = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 443}


@dataclass(frozen=True)
class Address:
    """A server's address; `str(address)` is its URL."""

    protocol: Protocol
    tls: bool
    host: str
    port: int
    path: str

    @property
    def target(self) -> str:
        """`host:port`, with an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.protocol}{'s' if self.tls else ''}://{self.target}{self.path}"


def parse_url(url: str, protocol: Protocol | None = None) -> Address:
    """Return the address that `url` names.

    The scheme (grpc, grpcs, http, https) decides the protocol, or else `protocol`; without either, port 8000
    (Triton's default for HTTP) means HTTP and any other port gRPC. Raises `InvalidUrl`.
    """
    if protocol not in (None, *get_args(Protocol)):
        raise InvalidUrl(f"The protocol must be 'grpc' or 'http', not '{protocol}'.")
    parts = urlsplit(url if "://" in url else f"//{url}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidUrl(
            f"'{url}' is not a server address ({error}): write host:port, such as 127.0.0.1:8001."
        ) from None
    scheme = parts.scheme or protocol or ("http" if port == 8000 else "grpc")
    if not host or scheme not in DEFAULT_PORTS or parts.username or parts.query or parts.fragment:
        raise InvalidUrl(
            f"'{url}' is not a server address: write host:port, grpc(s)://host:port or http(s)://host:port."
        )
    named = scheme.removesuffix("s")
    path = parts.path.rstrip("/")
    if protocol not in (None, named):
        raise InvalidUrl(
            f"'{url}' means {named}, but the argument `protocol` is '{protocol}': leave out one of them."
        )
    if path and named == "grpc":
        raise InvalidUrl(f"'{url}' has the path '{path}', which gRPC cannot use: leave it out.")
    return Address(cast(Protocol, named), scheme.endswith("s"), host, port or DEFAULT_PORTS[scheme], path)
