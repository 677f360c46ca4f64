"""One small Triton for all tests of the client, and a client of it over each protocol."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tritone_client import Client

from tests.support.staged import Staged
from tests.support.triton import Triton, running


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    yield from running(Triton, tmp_path_factory.mktemp("triton"))


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    """A system of three steps, with metrics and cache."""
    yield from running(Staged, tmp_path_factory.mktemp("staged"))


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, triton: Triton) -> Iterator[Client]:
    with Client(getattr(triton, request.param)) as client:
        yield client


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mp3"
    path.write_bytes(b"not really \x00 a song\x00\x00")
    return path
