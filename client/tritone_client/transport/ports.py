"""Recognises ports that were mixed up: gRPC where a client speaks HTTP, and HTTP where it speaks gRPC."""

import http.client
import socket
from contextlib import suppress

from tritone_client.errors import Failure, InvalidUrl
from tritone_client.transport.address import DEFAULT_PORTS, Address

PROBE_SECONDS = 0.5


def is_http2(error: Exception) -> bool:
    """Return whether an HTTP/1 client failed because the port sent the SETTINGS frame that opens HTTP/2."""
    line = str(error) if isinstance(error, http.client.BadStatusLine) else ""
    return line.startswith("\0\0") and line[3:4] == "\x04"  # the frame's length in 3 bytes, its type


def answers_http(address: Address) -> bool:
    """Return whether the port answers a request over HTTP/1; False for an encrypted port, which is not tried."""
    if address.tls:
        return False
    with suppress(OSError), socket.create_connection((address.host, address.port), PROBE_SECONDS) as connection:
        connection.settimeout(PROBE_SECONDS)
        connection.sendall(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        return connection.recv(5).startswith(b"HTTP")
    return False


def check_grpc_port(address: Address, failure: Failure) -> None:
    """Raise `InvalidUrl` if a call failed because the port of a gRPC address speaks HTTP."""
    if failure.status == "UNAVAILABLE" and "Socket closed" in failure.text and answers_http(address):
        raise wrong_port(address)


def wrong_port(address: Address) -> InvalidUrl:
    """Return the exception for a port that speaks the other protocol."""
    spoken, wanted = ("an HTTP", "gRPC") if address.protocol == "grpc" else ("a gRPC", "HTTP")
    right = f"{spoken.split()[1].lower()}{'s' if address.tls else ''}://{address.target}"
    default = f"Triton's default is {DEFAULT_PORTS[wanted.lower()]}"
    return InvalidUrl(f"{address} is {spoken} port: write {right}, or give the port for {wanted} ({default}).")


def reason(error: Exception) -> str:
    """Return why an exchange over HTTP failed, without bytes that are not HTTP."""
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
        return "the port speaks gRPC, not HTTP" if is_http2(error) else "the answer is not HTTP"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
