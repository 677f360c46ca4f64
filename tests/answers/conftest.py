"""Triton's own client of the server that a test module starts."""

from collections.abc import Iterator

import pytest
from tritonclient.grpc import InferenceServerClient

from server.embedded import Embedded
from tests.support.small import asking


@pytest.fixture(scope="module")
def client(server: Embedded) -> Iterator[InferenceServerClient]:
    with asking(server) as client:
        yield client
