"""Calls that outlive what happens to a server: a dead Python step, a reload, a restart."""

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritone_client import Client, Prediction, TritoneError

from tests.support.triton import Triton, free_ports
from tests.support.waiting import wait_until


def under_load(triton: Triton, event: Callable[[], None]) -> list[Prediction | TritoneError]:
    """Two threads per protocol that call on and on while `event` happens, and for twenty answers after it."""
    answers: list[Prediction | TritoneError] = []
    over = threading.Event()

    def call(client: Client) -> None:
        while not over.is_set():
            try:
                answers.append(client.classify(b"x", behave="slow", seconds=0.02))
            except TritoneError as error:
                answers.append(error)

    with Client(triton.grpc) as grpc, Client(triton.http) as http:
        threads = [threading.Thread(target=call, args=(client,)) for client in (grpc, http, grpc, http)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        event()
        before = len(answers)
        wait_until(lambda: len(answers) > before + 20)
        over.set()
        for thread in threads:
            thread.join()
    return answers


def no_errors(answers: list[Prediction | TritoneError]) -> bool:
    return len(answers) > 20 and all(isinstance(answer, Prediction) for answer in answers)


def test_a_dead_step_that_is_reloaded(triton: Triton):
    def die_and_heal() -> None:
        dead = pytest.raises(TritoneError, match="Stub process .* is not healthy")
        with Client(triton.grpc, retries=0) as client, dead:
            client.classify(b"x", behave="crash")
        time.sleep(1)
        triton.post("vgg19_bn_cqt_preprocess/unload")
        time.sleep(0.3)
        triton.post("vgg19_bn_cqt_preprocess/load")

    answers = under_load(triton, die_and_heal)
    assert no_errors(answers), [answer for answer in answers if isinstance(answer, TritoneError)]
    assert max(answer.seconds for answer in answers) > 0.5  # some did have to wait


def test_an_unloaded_system_is_told_as_such(client: Client, triton: Triton):
    triton.post("vgg19_bn_cqt/unload")
    try:
        states = {"emotion2vec_plus_large": True, "musicnn_msd": True, "narrow": True, "vgg19_bn_cqt": False}
        assert {system.name: system.ready for system in client.models()} == states
        assert client.health().systems == states
        with pytest.raises(TritoneError, match=r"was not ready after .*has no available versions"):
            client.classify(b"x", timeout=0.3)
    finally:
        triton.post("vgg19_bn_cqt/load")


@pytest.mark.parametrize("end", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_a_server_that_restarts(triton: Triton, tmp_path: Path, end: signal.Signals):
    ports = free_ports(2)
    with Triton(tmp_path, ports=ports) as server:

        def restart() -> None:
            server.stop(end)
            server.start()

        answers = under_load(server, restart)
    assert no_errors(answers), [answer for answer in answers if isinstance(answer, TritoneError)]


def test_a_stopping_server_cancels_a_call():
    """Seldom seen of a real one: gRPC's shutdown may strike between a request's arrival and its answer."""

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
        with Client(f"grpc://127.0.0.1:{port}") as client:
            assert client.models() == () and stopping.calls == 2
    finally:
        server.stop(None)
