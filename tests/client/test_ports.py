"""A client at the port of the other protocol: one sentence with the right address, at once."""

import asyncio
import time

import pytest
from tritone_client import AsyncClient, Client, InvalidUrl, ServerUnavailable

from tests.support.command import tritone
from tests.support.hostile import http_server
from tests.support.triton import Triton, free_ports


def test_grpc_at_the_http_port(triton: Triton):
    url = f"grpc://127.0.0.1:{triton.http_port}"
    sentence = (
        rf"^{url} is an HTTP port: write {triton.http}, or give the port for gRPC \(Triton's default is 8001"
    )
    with Client(url) as client, pytest.raises(InvalidUrl, match=sentence):
        client.classify(b"song")

    async def ask() -> None:
        async with AsyncClient(url) as client:
            await client.classify(b"song")

    with pytest.raises(InvalidUrl, match="is an HTTP port"):
        asyncio.run(ask())


@pytest.mark.parametrize("command", [("classify", "-"), ("models",), ("health",)])
def test_http_at_the_grpc_port(triton: Triton, command: tuple[str, ...]):
    start = time.monotonic()
    done = tritone(*command, "--url", f"http://127.0.0.1:{triton.grpc_port}", input="song")
    assert (done.returncode, done.stdout) == (1, "") and time.monotonic() - start < 10
    assert done.stderr == (
        f"tritone: http://127.0.0.1:{triton.grpc_port} is a gRPC port: write {triton.grpc}, "
        "or give the port for HTTP (Triton's default is 8000).\n"
    )


def test_metrics_at_the_grpc_port(triton: Triton):
    done = tritone("stats", "--metrics-url", f"127.0.0.1:{triton.grpc_port}")
    assert (
        done.returncode == 1 and "(the port speaks gRPC, not HTTP)" in done.stderr and "u0000" not in done.stderr
    )


def test_bytes_of_no_protocol_are_not_quoted():
    with (
        http_server(lambda connection: connection.sendall(b"\x1b]0;title\x07\r\n")) as url,
        Client(url, retries=0) as client,
        pytest.raises(ServerUnavailable, match=r"\(the answer is not HTTP\)"),
    ):
        client.ping()


def test_a_closed_port_is_not_a_wrong_one():
    with Client(f"127.0.0.1:{free_ports(1)[0]}", retries=0) as client, pytest.raises(ServerUnavailable):
        client.ping()
