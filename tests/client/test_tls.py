"""Encrypted connections: the server is verified, and shown a certificate where it asks for one."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tritone_client import AsyncClient, Client, ServerUnavailable

from tests.support.triton import Triton

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the command openssl for certificates")


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca), and certificates by it for 127.0.0.1 (server) and for a client."""
    folder = tmp_path_factory.mktemp("pem")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-subj", "/CN=Test", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "san")
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def grpcs(triton: Triton, pem: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Triton whose gRPC asks for a certificate."""
    flags = [
        "--grpc-use-ssl=true",
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={pem / 'server.pem'}",
        f"--grpc-server-key={pem / 'server.key'}",
        f"--grpc-root-cert={pem / 'ca.pem'}",
    ]
    with Triton(tmp_path_factory.mktemp("tls"), flags) as server:
        yield server.grpc.replace("grpc://", "grpcs://")


@pytest.fixture(scope="module")
def https(triton: Triton, pem: Path) -> Iterator[str]:
    """An encrypting proxy that asks for a certificate, before Triton's HTTP, which has no TLS of its own."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pem / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pem / "server.pem", pem / "server.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        sink.close()

    def serve() -> None:
        while True:
            try:
                plain = listener.accept()[0]
            except OSError:
                return
            try:
                near = context.wrap_socket(plain, server_side=True)
            except OSError:
                continue
            far = socket.create_connection(("127.0.0.1", triton.http_port))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


@pytest.fixture(params=["grpcs", "https"])
def url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


def test_mutual_tls(url: str, pem: Path):
    files = {"root_certificates": "ca.pem", "certificate": "client.pem", "private_key": "client.key"}
    with Client(url, **{name: str(pem / file) for name, file in files.items()}) as client:
        assert client.classify(b"x" * 100_000).raw["echo"]["audio_bytes"] == 100_000
        assert client.health().ready


def test_mutual_tls_in_an_event_loop(grpcs: str, pem: Path):
    files = {"root_certificates": "ca.pem", "certificate": "client.pem", "private_key": "client.key"}

    async def ask() -> int:
        async with AsyncClient(grpcs, **{name: str(pem / file) for name, file in files.items()}) as client:
            return (await client.classify(b"x" * 1000)).raw["echo"]["audio_bytes"]

    assert asyncio.run(ask()) == 1000


def test_an_unknown_authority_is_refused_at_once(url: str):
    with Client(url, timeout=20) as client, pytest.raises(ServerUnavailable, match=r"(?i)certificate|handshake"):
        client.classify(b"x", timeout=20)


def test_a_client_without_certificate_gets_no_answer(url: str, pem: Path):
    with (
        Client(url, timeout=1, root_certificates=str(pem / "ca.pem")) as client,
        pytest.raises(ServerUnavailable),
    ):
        client.classify(b"x")
