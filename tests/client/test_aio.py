"""AsyncClient: what `Client` says, and that cancelling reaches the server."""

import asyncio
import http.client
import itertools
import json
import random
import re
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
import tritone_client
import uvicorn
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritone_client import Client
from tritone_client.aio import AsyncClient
from tritone_client.transport import retry

from tests.support.triton import Triton, free_ports

CLIENT_GUIDE = Path(__file__).parents[2] / "docs" / "client.md"
COUNTERS = map(str, itertools.count())


def ask(url: str, question: Callable[[AsyncClient], Awaitable[Any]], **arguments: Any) -> Any:
    """What an `AsyncClient` answers; an error as such."""

    async def main() -> Any:
        async with AsyncClient(url, **arguments) as client:
            try:
                return await question(client)
            except tritone_client.TritoneError as error:
                return error

    return asyncio.run(main())


def ask_blocking(url: str, question: Callable[[Client], Any]) -> Any:
    """What `Client` answers; an error as such."""
    with Client(url) as client:
        try:
            return question(client)
        except tritone_client.TritoneError as error:
            return error


def calls(triton: Triton, what: str, counter: str) -> int:
    """How often the contract's model noted `what`."""
    return sum(path.stat().st_size for path in triton.repository.glob(f"*/calls-{what}-{counter}"))


def comes_true(condition: Callable[[], bool], seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


async def begun(triton: Triton, what: str, counter: str) -> None:
    """Wait until the model has begun."""
    while not calls(triton, what, counter):
        await asyncio.sleep(0.01)


def test_answers_are_those_of_the_blocking_client(triton: Triton, song: Path):
    samples = (np.array([[0.5, 0.0], [-1.0, 0.5]]), 44100)
    for recording, options in [
        (song, {"profile": "article-a", "top_k": 3}),
        (str(song), {"explain": 2}),
        (bytes(100_000), {"uncertainty": "entropy"}),
        (samples, {"temperature": 2.0}),
    ]:
        mine, other = (
            asking(triton.grpc, lambda client: client.classify(recording, **options))  # noqa: B023
            for asking in (ask, ask_blocking)
        )
        assert mine.raw == other.raw
        for name in ("probabilities", "slice_probabilities", "explanation", "pictures"):
            assert np.array_equal(getattr(mine, name), getattr(other, name)), name
        assert 0 < mine.seconds < 5
    for options in [{}, {"granularity": "frame", "embedding": True, "smoothing": 1.0}]:
        mine, other = (
            asking(triton.grpc, lambda client: client.emotion(bytes([3, 3, 4]), **options))  # noqa: B023
            for asking in (ask, ask_blocking)
        )
        assert mine.raw == other.raw
        for name in ("frame_scores", "embedding", "frame_embeddings"):
            assert np.array_equal(getattr(mine, name), getattr(other, name)), name


def test_the_server_is_described_as_by_the_blocking_client(triton: Triton):
    for method, *arguments in [("models",), ("health",), ("ping",), ("method", "emotion2vec_plus_large")]:
        mine, other = (
            asking(triton.grpc, lambda client: getattr(client, method)(*arguments))  # noqa: B023
            for asking in (ask, ask_blocking)
        )
        assert mine == other


@pytest.mark.parametrize(
    ("recording", "arguments", "kind"),
    [
        (b"x", {"behave": "invalid"}, "InvalidRecording"),
        (b"x", {"behave": "internal"}, "InferenceFailed"),
        (b"x", {"behave": "raise"}, "InferenceFailed"),
        (b"x", {"model": "nope"}, "UnknownModel"),
        (b"x", {"model": "emotion2vec_plus_large"}, "UnknownModel"),
        (b"x", {"model": "vgg19_bn_cqt_raw"}, "UnknownModel"),
        (b"x", {"behave": "slow", "seconds": 2.0, "timeout": 0.3}, "DeadlineExceeded"),
        (b"x", {"behave": "busy", "times": 10**9, "timeout": 0.3}, "ServerBusy"),
        (b"", {}, "InvalidRecording"),
        ("no/such/file", {}, "InvalidRecording"),
        ((np.zeros(5, np.int32), 44100), {}, "InvalidRecording"),
    ],
)
def test_errors_are_those_of_the_blocking_client(triton: Triton, recording: Any, arguments: Any, kind: str):
    errors = [
        asking(triton.grpc, lambda client: client.classify(recording, **arguments))
        for asking in (ask, ask_blocking)
    ]
    assert [type(error).__name__ for error in errors] == [kind, kind]
    mine, other = (re.sub(r"after \d+\.\d s", "", str(error)) for error in errors)
    assert mine == other


def test_a_busy_server_is_asked_again(triton: Triton, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry, "pause", lambda _: 0.01)
    question = partial(AsyncClient.classify, recording=b"x", behave="busy", times=4)
    assert ask(triton.grpc, partial(question, counter=next(COUNTERS))).label == "Opera"
    counter = next(COUNTERS)
    assert isinstance(ask(triton.grpc, partial(question, counter=counter), retries=3), tritone_client.ServerBusy)
    assert calls(triton, "busy", counter) == 4
    counter = next(COUNTERS)
    assert isinstance(ask(triton.grpc, partial(question, counter=counter), retries=0), tritone_client.ServerBusy)
    assert calls(triton, "busy", counter) == 1


def test_one_client_serves_many_tasks(triton: Triton):
    recordings = [bytes(10_000 + i) for i in range(200)]

    async def all_of_them(client: AsyncClient) -> list[Any]:
        return await asyncio.gather(*map(client.classify, recordings))

    answers = ask(triton.grpc, all_of_them)
    assert [answer.raw["echo"]["audio_bytes"] for answer in answers] == [len(r) for r in recordings]


def test_a_file_is_read_in_a_thread(triton: Triton, song: Path, monkeypatch: pytest.MonkeyPatch):
    read, threads = Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda path: threads.append(threading.current_thread()) or read(path))
    ask(triton.grpc, lambda client: client.classify(song))
    assert len(threads) == 1 and threads[0] is not threading.main_thread()


def test_no_server():
    url = f"grpc://127.0.0.1:{free_ports(1)[0]}"
    error = ask(url, lambda client: client.classify(b"x"), timeout=0.5)
    assert isinstance(error, tritone_client.ServerUnavailable) and "(Connection refused)" in str(error)
    start = time.monotonic()
    for method in ("health", "ping"):
        error = ask(url, lambda client: getattr(client, method)(), timeout=10)  # noqa: B023
        assert isinstance(error, tritone_client.ServerUnavailable)
    assert time.monotonic() - start < 5  # asked again it takes 10 s


def test_addresses_that_cannot_be_used(tmp_path: Path):
    for url in ("http://127.0.0.1:8000", "https://triton.example", "127.0.0.1:8000"):
        with pytest.raises(tritone_client.InvalidUrl, match=r"uses gRPC, not https?://.*: give the server's gRPC"):
            AsyncClient(url)
    with pytest.raises(tritone_client.InvalidUrl, match="write grpcs://"):
        AsyncClient(root_certificates="ca.pem")
    with pytest.raises(tritone_client.InvalidUrl, match=r"TLS files .* cannot be used"):
        AsyncClient("grpcs://127.0.0.1:8001", root_certificates=str(tmp_path / "none.pem"))


def test_one_client_is_for_one_event_loop(triton: Triton):
    async def fresh() -> AsyncClient:
        client = AsyncClient(triton.grpc)
        await client.ping()
        return client

    async def stale() -> None:
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await client.ping()

    client = asyncio.run(fresh())
    asyncio.run(stale())


async def cancelled(client: AsyncClient, started: asyncio.Task[Any]) -> None:
    started.cancel()
    with pytest.raises(asyncio.CancelledError):
        await started


async def given_up(client: AsyncClient, started: asyncio.Task[Any]) -> None:
    with pytest.raises(asyncio.TimeoutError):  # TimeoutError itself from Python 3.11 on
        await asyncio.wait_for(started, 0.05)


async def closed(client: AsyncClient, started: asyncio.Task[Any]) -> None:
    await client.close()
    with pytest.raises(tritone_client.TritoneError, match="the client was closed"):
        await started
    with pytest.raises(tritone_client.TritoneError, match="the client was closed"):
        await client.classify(b"x")


async def cancelled_and_closed(client: AsyncClient, started: asyncio.Task[Any]) -> None:
    """Being cancelled is told as such, also where the client is closed before the task hears of it."""
    started.cancel()
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await started


async def late(client: AsyncClient, started: asyncio.Task[Any]) -> None:
    with pytest.raises(tritone_client.DeadlineExceeded):
        await started


@pytest.mark.parametrize("end", [cancelled, given_up, closed, cancelled_and_closed, late])
def test_a_running_request_hears_that_its_caller_is_gone(
    triton: Triton, end: Callable[[AsyncClient, asyncio.Task[Any]], Coroutine[Any, Any, None]]
):
    """The model looks at request.is_cancelled() while it works."""
    counter = next(COUNTERS)

    async def main(client: AsyncClient) -> None:
        timeout = 0.5 if end is late else 30
        patient = {"behave": "patient", "seconds": 20.0, "counter": counter, "model": "narrow_preprocess"}
        call = asyncio.create_task(client.classify(b"x", timeout=timeout, **patient))
        await begun(triton, "patient", counter)
        start = time.monotonic()
        await end(client, call)
        assert time.monotonic() - start < 1
        assert await asyncio.to_thread(comes_true, lambda: calls(triton, "cancelled", counter) == 1)
        if end in (cancelled, given_up, late):  # the client is as good as before
            assert (await client.classify(b"x")).label == "Opera"

    ask(triton.grpc, main)


def test_a_waiting_request_is_dropped(triton: Triton):
    """Behind another in the queue of one instance: the model never sees it, and Triton counts a failure."""
    first, second = next(COUNTERS), next(COUNTERS)

    def statistics() -> dict[str, Any]:
        with urllib.request.urlopen(f"{triton.http}/v2/models/narrow_preprocess/stats") as response:
            return json.load(response)["model_stats"][0]["inference_stats"]

    async def main(client: AsyncClient) -> None:
        classify = partial(client.classify, b"x", model="narrow_preprocess", behave="slow", seconds=0.5)
        running = asyncio.create_task(classify(counter=first))
        await begun(triton, "slow", first)
        waiting = asyncio.create_task(classify(counter=second))
        await asyncio.sleep(0.2)
        await cancelled(client, waiting)
        assert (await running).label == "Opera"

    before = statistics()["fail"]["count"]
    ask(triton.grpc, main)
    assert comes_true(lambda: statistics()["fail"]["count"] == before + 1)
    assert calls(triton, "slow", first) == 1 and calls(triton, "slow", second) == 0


def test_closing_ends_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry, "pause", lambda _: 10.0)

    async def main(client: AsyncClient) -> None:
        call = asyncio.create_task(client.classify(b"x"))
        await asyncio.sleep(0.2)
        await client.close()
        with pytest.raises(tritone_client.TritoneError):
            await asyncio.wait_for(call, 1)

    ask(f"127.0.0.1:{free_ports(1)[0]}", main)


def test_a_stopping_server_cancels_a_call():
    """Of a server's cancelling nobody is cancelled: the call is tried again."""

    class Stopping(service_pb2_grpc.GRPCInferenceServiceServicer):
        """A server that cancels the first call."""

        calls = 0

        def ModelStatistics(self, request: object, context: grpc.ServicerContext) -> object:
            self.calls += 1
            if self.calls == 1:
                context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
            return service_pb2.ModelStatisticsResponse()

    server, stopping = grpc.server(ThreadPoolExecutor(1)), Stopping()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(stopping, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert ask(f"grpc://127.0.0.1:{port}", AsyncClient.models) == () and stopping.calls == 2
    finally:
        server.stop(None)


@pytest.fixture
def service(triton: Triton, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The web service of docs/client.md, under uvicorn on a free port: the application and the port."""
    [example] = re.findall(r"^```python fastapi\n(.*?)^```$", CLIENT_GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    module = ModuleType("service")
    monkeypatch.setitem(sys.modules, "service", module)  # where FastAPI looks types up
    exec(example.replace("127.0.0.1:8001", f"127.0.0.1:{triton.grpc_port}"), module.__dict__)
    app = module.app
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert comes_true(lambda: server.started)
    yield app, server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(5)
    assert not thread.is_alive()


def upload(port: int, data: bytes) -> http.client.HTTPConnection:
    """A connection over which a form with a file was sent."""
    head = b'--b\r\nContent-Disposition: form-data; name="recording"; filename="song.mp3"\r\n\r\n'
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    connection.request("POST", "/genre", head + data + b"\r\n--b--\r\n", headers)
    return connection


def test_a_web_service(service: Any):
    with closing(upload(service[1], b"x" * 200_000)) as connection:
        response = connection.getresponse()
        answer = json.load(response)
        assert (response.status, answer["label"], answer["echo"]["audio_bytes"]) == (200, "Opera", 200_000)
    with closing(upload(service[1], b"")) as connection:
        response = connection.getresponse()
        assert response.status == 422 and json.load(response)["detail"].startswith("The recording is empty")


def test_a_visitor_who_hangs_up_cancels(service: Any, triton: Triton, caplog: pytest.LogCaptureFixture):
    app, port = service
    counter, client = next(COUNTERS), app.state.client
    patient = {"behave": "patient", "seconds": 20.0, "counter": counter, "model": "narrow_preprocess"}
    client.classify = partial(client.classify, **patient)
    connection = upload(port, b"x")
    assert comes_true(lambda: calls(triton, "patient", counter) == 1)
    assert calls(triton, "cancelled", counter) == 0
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    assert comes_true(lambda: calls(triton, "cancelled", counter) == 1)
    with closing(upload(port, b"")) as connection:  # answered after whatever the other ended in was logged
        assert connection.getresponse().status == 422
    assert "Traceback" not in caplog.text


def test_a_young_call_is_cancelled_when_it_is_older(triton: Triton, monkeypatch: pytest.MonkeyPatch):
    """Triton 24.10 may die of a call that is cancelled as it arrives; who awaits it need not wait for that."""

    async def main() -> tuple[list[float], list[int]]:
        loop, ended, ended_before = asyncio.get_running_loop(), [], []

        async def never(*_: object, **__: object) -> None:
            began = loop.time()
            try:
                await asyncio.sleep(10)
            finally:
                ended.append(loop.time() - began)

        async with AsyncClient(triton.grpc) as client:
            monkeypatch.setattr(client._transport._connected(), "infer", never)
            for pause in (0.2, 0.0):  # the second is still young when the client is closed
                call = asyncio.create_task(client.classify(b"x"))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait([call])
                ended_before.append(len(ended))
                await asyncio.sleep(pause)
        return ended, ended_before

    ended, ended_before = asyncio.run(main())
    assert len(ended) == 2 and min(ended) > 0.045 and ended_before == [0, 1]


@pytest.mark.slow
def test_the_server_outlives_calls_that_are_cancelled_as_they_arrive(tmp_path: Path):
    """Without the delay a server was dead after 300 to 800 of them."""

    async def main(url: str) -> int:
        ended = 0
        async with AsyncClient(url, retries=0) as client:
            for number in range(5000):
                call = asyncio.create_task(client.classify(b"x%d" % number))
                await asyncio.sleep(random.uniform(0, 0.002))
                call.cancel()
                ended += isinstance(
                    (await asyncio.gather(call, return_exceptions=True))[0], asyncio.CancelledError
                )
        return ended

    with Triton(tmp_path) as server:
        assert asyncio.run(main(server.grpc)) > 3000
        assert server.process.poll() is None and server.ready()
