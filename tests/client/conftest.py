"""One small Triton for all tests of the client, and a client of it over each protocol."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tritone_client import Client

from server.errors import ServerError
from tests.client.staged import Staged, running
from tests.client.triton import Triton


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    try:
        server = Triton(tmp_path_factory.mktemp("triton"))
    except ServerError as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    """A system of three steps, with metrics and cache."""
    yield from running(tmp_path_factory)


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, triton: Triton) -> Iterator[Client]:
    with Client(getattr(triton, request.param)) as client:
        yield client


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mp3"
    path.write_bytes(b"not really \x00 a song\x00\x00")
    return path
