"""A server that means harm: whatever it sends, a call ends in time, in one sentence, and with little memory."""

import asyncio
import gzip
import json
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritone_client import Client, DeadlineExceeded, InferenceFailed, ServerUnavailable, TritoneError
from tritone_client.aio import AsyncClient
from tritone_client.answers.emotion import parse_emotion
from tritone_client.answers.fields import Fields
from tritone_client.answers.prediction import parse_prediction
from tritone_client.bulk.engine import Bulk
from tritone_client.bulk.results import Results
from tritone_client.bulk.sources import Source
from tritone_client.errors import MAX_ANSWER
from tritone_client.monitoring.statistics import parse, scrape
from tritone_client.transport import exchange

from tests.client import bulk_answers
from tests.support import answers
from tests.support.hostile import Bytes, encoded, grpc_server, http_answer, http_server, trickle

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module")
def genre() -> dict[str, np.ndarray]:
    return answers.genre_tensors(slices=3, pictures=2, explained=1, **answers.UNSURE)


@pytest.fixture(scope="module")
def emotion() -> dict[str, np.ndarray]:
    return answers.emotion_tensors(frames=40)


def changed(tensors: dict[str, np.ndarray], path: tuple[Any, ...], value: object) -> dict[str, np.ndarray]:
    """The tensors with another value somewhere in RESULT."""
    result = json.loads(tensors["RESULT"][0])
    place = result
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return tensors | {"RESULT": answers.tensor(result)}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something is in RESULT, of lists the first."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    return [path] * bool(path) + [at for key, child in children for at in places(child, (*path, key))]


@pytest.mark.parametrize("kind", ["genre", "emotion"])
def test_every_field_of_another_type_is_one_sentence_or_an_answer(kind: str, request: pytest.FixtureRequest):
    """And what is an answer can be shown, printed, drawn and written."""
    tensors = request.getfixturevalue(kind)
    read = parse_prediction if kind == "genre" else parse_emotion
    refused = 0
    values = (None, "<b>", -1, 10**400, 1e308, float("nan"), [], {}, [1], {"a": []}, True)
    for path in places(json.loads(tensors["RESULT"][0])):
        for value in values:
            try:
                answer = read(changed(tensors, path, value), 0.1)
            except InferenceFailed as error:
                assert str(error).startswith("The server's answer cannot be read (") and "\n" not in str(error)
                refused += 1
            else:
                answer._repr_html_()
                answers.printed(answer)
                json.dumps(answer.to_dict(), allow_nan=False)
    assert refused > 200


NAN = np.float32("nan")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("RESULT", lambda a: None),
        ("RESULT", lambda a: np.array([b"[" * 100_000], object)),
        ("RESULT", lambda a: np.array([a[0][:-1] + b', "x": ' + b"[" * 60 + b"]" * 60 + b"}"], object)),
        ("RESULT", lambda a: np.array([b"[1]"], object)),
        ("RESULT", lambda a: np.array([b"\xff"], object)),
        ("RESULT", lambda a: np.array([], object)),
        ("RESULT", lambda a: np.array([*a, *a], object)),
        ("RESULT", lambda a: np.zeros(1, np.float32)),
        ("RESULT", lambda a: np.array([a[0].replace(b'"duration": ', b'"duration": 1e999, "x": ')], object)),
        ("LABELS", lambda a: a[:-1]),
        ("LABELS", lambda a: np.array([b"\xff"] * len(a), object)),
        ("LABELS", lambda a: np.array([a[0]] * len(a), object)),
        ("LABELS", lambda a: np.array([], object)),
        ("PROBABILITIES", lambda a: a[None]),
        ("PROBABILITIES", lambda a: a.astype(np.float64)),
        ("PROBABILITIES", lambda a: a * NAN),
        ("PROBABILITIES", lambda a: a + 2),
        ("SLICE_PROBABILITIES", lambda a: a[:, 1:]),
        ("SLICE_PROBABILITIES", lambda a: a - 2),
        ("PICTURES", lambda a: a[:1]),
        ("PICTURES", lambda a: a[..., 0]),
        ("PICTURES", lambda a: a.astype(np.float32)),
        ("EXPLANATION", lambda a: a * NAN),
        ("EXPLANATION", lambda a: a[:0]),
        ("SCORES", lambda a: a[1:]),
        ("SCORES", lambda a: a * NAN),
        ("FRAME_SCORES", lambda a: a * NAN),
        ("FRAME_SCORES", lambda a: a[0]),
        ("EMBEDDING", lambda a: np.zeros((2, 2), np.float32)),
        ("FRAME_EMBEDDINGS", lambda a: np.zeros(2, np.float32)),
    ],
)
def test_tensors_that_are_no_answer(genre: Any, emotion: Any, name: str, change: Callable[[Any], Any]):
    for tensors, read in ((genre, parse_prediction), (emotion, parse_emotion)):
        read(tensors, 0.1)
        if name in tensors or ("EMBEDDING" in name and read is parse_emotion):
            with pytest.raises(InferenceFailed, match=r"^The server's answer cannot be read \(.{5,200}\): client"):
                read(tensors | {name: change(tensors.get(name))}, 0.1)


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), "1", True, None])
def test_numbers_are_finite(value: object):
    with pytest.raises(ValueError, match=r"RESULT\.a is not a valid number"):
        Fields({"a": value}).number("a")


def lying(tensors: Bytes) -> Bytes:
    """RESULT says that it is longer than it is."""
    kind, shape, content = tensors["RESULT"]
    return tensors | {"RESULT": (kind, shape, struct.pack("<I", 10**9) + content[4:])}


def misshapen(tensors: Bytes) -> Bytes:
    """A shape that the content does not have."""
    return tensors | {"PROBABILITIES": ("FP32", [10**9], tensors["PROBABILITIES"][2])}


def of_no_type(tensors: Bytes) -> Bytes:
    """A type that there is not."""
    return tensors | {"PROBABILITIES": ("FP31", *tensors["PROBABILITIES"][1:])}


def without_result(tensors: Bytes) -> Bytes:
    """An output is missing."""
    return {name: tensor for name, tensor in tensors.items() if name != "RESULT"}


MALFORMED = pytest.mark.parametrize("malform", [lying, misshapen, of_no_type, without_result])


@MALFORMED
def test_bytes_that_are_no_tensors(genre: Any, malform: Callable[[Bytes], Bytes]):
    sent = encoded(genre)
    with grpc_server(malform(sent)) as url:
        with Client(url) as client, pytest.raises(InferenceFailed, match="cannot be read"):
            client.classify(b"x")
        error = asyncio.run(asked(url))
        assert isinstance(error, InferenceFailed) and "cannot be read" in str(error)
    wire = http_answer(malform(sent))
    refused = pytest.raises(InferenceFailed, match="cannot be read")
    with http_server(lambda connection: connection.sendall(wire)) as url, Client(url) as client, refused:
        client.classify(b"x")


def test_the_servers_of_these_tests_can_answer(genre: Any):
    with grpc_server(encoded(genre)) as url:
        assert asyncio.run(asked(url)).label == "Chamber cabaret & art pop"
    wire = http_answer(encoded(genre))
    with http_server(lambda connection: connection.sendall(wire)) as url, Client(url) as client:
        assert client.classify(b"x", explain=1).explanation.shape == (1, 14, 14)


async def asked(url: str) -> Any:
    """What an `AsyncClient` answers; an error as such."""
    async with AsyncClient(url) as client:
        try:
            return await client.classify(b"x")
        except TritoneError as error:
            return error


@pytest.mark.parametrize(
    "answer",
    [
        b"no HTTP at all\r\n\r\n",
        HEAD + b"Content-Length: 2\r\n\r\n[]",
        HEAD + b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000,
        HEAD + b"Inference-Header-Content-Length: x\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Inference-Header-Content-Length: -5\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}",
        HEAD + b"Content-Length: 5\r\n\r\n{}",
        b"HTTP/1.1 400 No\r\nContent-Length: 11\r\n\r\n" + b'{"error":1}',
        b"HTTP/1.1 500 No\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
    ],
)
def test_http_that_is_none(answer: bytes):
    with http_server(lambda connection: connection.sendall(answer)) as url, Client(url, retries=0) as client:
        for call in (partial(client.classify, b"x"), client.models, partial(client.method, "m")):
            with pytest.raises(TritoneError) as error:
                call()
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "begin",
    [b"", HEAD, HEAD + b"Content-Length: 90000\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n"],
    ids=["status", "headers", "body", "chunks"],
)
def test_the_deadline_holds_however_slowly_an_answer_comes(begin: bytes):
    """Each byte comes soon after the last, so that no wait for one is long."""

    def send(connection: socket.socket) -> None:
        connection.sendall(begin)
        trickle(connection, b"HTTP/1.1 200 OK" if not begin else b"x")

    with http_server(send) as url, Client(url) as client:
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"within 1\.0 s"):
            client.classify(b"x", timeout=1)
        assert 0.95 < time.monotonic() - start < 1.4


def test_metrics_come_in_time_and_are_read_in_time():
    with http_server(lambda connection: trickle(connection, HEAD)) as url:
        start = time.monotonic()
        with pytest.raises(ServerUnavailable, match="timed out"):
            scrape(f"{url}/metrics", 0.5, {})
        assert time.monotonic() - start < 0.9
    start = time.monotonic()
    with pytest.raises(ValueError, match="not a sample"):
        parse("nv" + " " * 100_000 + "\0 x")
    assert time.monotonic() - start < 1


TOO_LARGE = "larger than the limit of 256 MB: send a shorter recording"


def endless(connection: socket.socket, head: bytes) -> None:
    """More than is taken."""
    connection.sendall(head)
    piece = bytes(1 << 20)
    for _ in range(64):
        connection.sendall(piece)


@pytest.mark.parametrize(
    "head",
    [
        b"X-Header: " + b"x" * 2000,
        b"\r\n",
        b"Content-Length: 3000000\r\n\r\n",
        b"Content-Length: 9999999999999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n",
    ],
)
def test_an_answer_without_end_is_refused(head: bytes, monkeypatch: pytest.MonkeyPatch):
    """The limit is lowered here, so that the test is fast; the real one is in the sentence."""
    monkeypatch.setattr(exchange, "MAX_ANSWER", 2 << 20)
    monkeypatch.setattr(exchange, "HEADERS", 1000)
    refused = pytest.raises(TritoneError, match="header|line" if head.startswith(b"X-Header") else TOO_LARGE)
    with http_server(partial(endless, head=HEAD + head)) as url, Client(url, retries=0) as client, refused:
        client.classify(b"x")


def test_a_compressed_answer_is_refused():
    """A thousandth of what it becomes is sent."""
    body = gzip.compress(bytes(10 << 20))
    head = HEAD + f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    refused = pytest.raises(InferenceFailed, match=r"the answer is compressed \(gzip\), which was not requested")
    with http_server(lambda connection: connection.sendall(head + body)) as url, Client(url) as client, refused:
        client.classify(b"x")


def test_grpc_answers_are_refused_by_their_size(genre: Any):
    large = encoded(genre) | {"MORE": ("UINT8", [MAX_ANSWER], bytes(MAX_ANSWER))}
    refused = pytest.raises(InferenceFailed, match=TOO_LARGE)
    with grpc_server(large) as url, Client(url) as client, refused:
        client.classify(b"x")
    refused = pytest.raises(InferenceFailed, match=r"(?i)compress")  # of any size: it may become any other
    with grpc_server(encoded(genre), grpc.Compression.Gzip) as url, Client(url, retries=0) as client, refused:
        client.classify(b"x")


def test_an_answer_that_is_none_is_a_row_and_the_run_goes_on(tmp_path: Path):
    """One of ten is malformed; the others have their rows."""
    wrong = answers.genre_tensors(2) | {"RESULT": np.array([b"[" * 100_000], object)}

    async def ask(recording: Any) -> Any:
        return parse_prediction(wrong, 0.1) if recording == b"5" else bulk_answers.prediction()

    files = [str(tmp_path / str(number)) for number in range(10)]
    for file in files:
        Path(file).write_text(Path(file).name)
    with Results(str(tmp_path / "out.jsonl"), "m", {}) as results:
        asyncio.run(Bulk(ask, None, results).run(map(Source, files)))
    rows = bulk_answers.read_rows(tmp_path / "out.jsonl")
    failed = [row for row in rows if "cause" in row]
    assert len(rows) == 10 and [(Path(row["file"]).name, row["cause"]) for row in failed] == [
        ("5", "InferenceFailed")
    ]
    assert failed[0]["error"].startswith("The server's answer cannot be read (RecursionError")
