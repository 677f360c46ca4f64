"""Addresses: scheme, default ports and protocol."""

import pytest
from tritone_client import Client, InvalidUrl
from tritone_client.transport.address import parse_url


@pytest.mark.parametrize(
    ("url", "protocol", "expected"),
    [
        ("127.0.0.1:8001", None, "grpc://127.0.0.1:8001"),
        ("127.0.0.1:8000", None, "http://127.0.0.1:8000"),
        ("127.0.0.1:8000", "grpc", "grpc://127.0.0.1:8000"),
        ("localhost:9000", "http", "http://localhost:9000"),
        ("gpu-box", None, "grpc://gpu-box:8001"),
        ("http://gpu-box", None, "http://gpu-box:8000"),
        ("https://gpu-box/triton/", None, "https://gpu-box:443/triton"),
        ("grpcs://gpu-box:443", None, "grpcs://gpu-box:443"),
        ("[::1]:8001", None, "grpc://[::1]:8001"),
    ],
)
def test_addresses(url: str, protocol: str | None, expected: str):
    assert str(parse_url(url, protocol)) == expected


@pytest.mark.parametrize(
    ("url", "protocol", "message"),
    [
        ("", None, "not a server address"),
        ("ftp://host", None, "not a server address"),
        ("http://user:secret@host", None, "not a server address"),
        ("host:port", None, "not a server address"),
        ("host:99999", None, "not a server address"),
        ("grpc://host/path", None, "has the path '/path'"),
        ("http://host", "grpc", "means http, but the argument"),
        ("host", "rest", "not 'rest'"),
    ],
)
def test_what_is_no_address(url: str, protocol: str | None, message: str):
    with pytest.raises(InvalidUrl, match=message):
        parse_url(url, protocol)


def test_certificates_need_encryption_and_files():
    with pytest.raises(InvalidUrl, match="write grpcs://"):
        Client("127.0.0.1:8001", root_certificates="ca.pem")
    for url in ("grpcs://127.0.0.1:8001", "https://127.0.0.1:8000"):
        with pytest.raises(InvalidUrl, match="No such file"):
            Client(url, root_certificates="/nowhere/ca.pem")
