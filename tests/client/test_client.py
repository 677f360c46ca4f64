"""The client against a real Triton, over gRPC and over HTTP."""

import asyncio
import hashlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritone_client
from tritone_client import AsyncClient, Client, InvalidRecording, Prediction
from tritone_client.calls import genre_request, is_answer_to
from tritone_client.transport import retry

from tests.support.triton import Triton, free_ports


def test_a_file_is_classified(client: Client, song: Path):
    prediction = client.classify(song, top_k=2)
    assert (prediction.model, prediction.label, prediction.probability) == ("vgg19_bn_cqt", "Opera", 0.5)
    assert [(r.label, r.label_zh, r.probability) for r in prediction.top] == [
        ("Opera", "戏曲", 0.5),
        ("Solo", "独奏", 0.25),
    ]
    assert prediction.labels == ("Symphony", "Opera", "Solo", "Chamber")
    assert prediction.probabilities.dtype == np.float32
    assert prediction.probabilities.tolist() == [0.125, 0.5, 0.25, 0.125]
    assert prediction.slice_probabilities.shape == (2, 4)
    assert (prediction.slices[0].start, prediction.slices[0].end) == (0.5, 11.5)
    assert (prediction.vote.label, prediction.vote.share) == ("Opera", 0.75)
    assert [r.label for r in prediction.levels["2"]] == ["Classic", "Non_classic"]
    assert prediction.weights.demo and prediction.notes[0].startswith("These are demo weights")
    assert (prediction.duration, prediction.profile, prediction.slices_total) == (23.0, "ccmusic", 2)
    assert 0 < prediction.seconds < 5
    written = prediction.to_dict()
    assert written["probabilities"]["Solo"] == 0.25 and written["label"] == "Opera"


def test_the_recording_arrives_unchanged(client: Client, song: Path):
    echo = client.classify(song, profile="article-a", top_k=3).raw["echo"]
    assert echo["audio_sha256"] == hashlib.sha256(song.read_bytes()).hexdigest()
    assert echo["options"] == {"profile": "article-a", "top_k": 3}
    assert echo["pcm"] is None and echo["sample_rate"] is None
    assert client.classify(b"\0" * 5).raw["echo"]["audio_bytes"] == 5


def test_samples_arrive_as_mono(client: Client):
    echo = client.classify((np.array([[0.5, 0.0], [-1.0, 0.5]]), 44100)).raw["echo"]
    assert (echo["pcm"], echo["sample_rate"], echo["audio_bytes"]) == ([0.25, -0.25], 44100, None)


def test_a_large_recording_arrives(client: Client):
    assert client.classify(bytes(20 << 20)).raw["echo"]["audio_bytes"] == 20 << 20


def test_both_protocols_say_the_same(triton: Triton, song: Path):
    with Client(triton.grpc) as grpc, Client(triton.http) as http:
        one, other = grpc.classify(song), http.classify(song)
        assert one.raw == other.raw and np.array_equal(one.slice_probabilities, other.slice_probabilities)
        assert grpc.models() == http.models() and grpc.health() == http.health()


def test_one_client_serves_many_threads(client: Client):
    recordings = [bytes([i]) * (100_000 + i) for i in range(64)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(client.classify, recordings))
    assert [a.raw["echo"]["audio_bytes"] for a in answers] == [len(r) for r in recordings]


@pytest.mark.parametrize(
    ("behave", "kind", "message"),
    [
        ("invalid", "InvalidRecording", r"^The recording is 3 bytes of text, not audio: send WAV.*M4A\.$"),
        ("internal", "InferenceFailed", r"\(The network answered 9 classes where the manifest names 16\)"),
        ("raise", "InferenceFailed", r"\(RuntimeError: a bug in the model\)"),
    ],
)
def test_final_errors_are_told_at_once(client: Client, behave: str, kind: str, message: str):
    start = time.monotonic()
    with pytest.raises(getattr(tritone_client, kind), match=message):
        client.classify(b"x", behave=behave)
    assert time.monotonic() - start < 5  # asked again it takes 30 s


@pytest.mark.parametrize("model", ["nope", "vgg19_bn_cqt_raw", "a b"])
def test_a_model_that_is_no_system(client: Client, model: str):
    with pytest.raises(tritone_client.UnknownModel, match="tritone models"):
        client.classify(b"x", model=model)


def test_a_slow_answer_ends_at_the_deadline(client: Client):
    start = time.monotonic()
    with pytest.raises(tritone_client.DeadlineExceeded, match=r"within 0\.3 s"):
        client.classify(b"x", behave="slow", seconds=3.0, timeout=0.3)
    assert 0.25 < time.monotonic() - start < 2
    assert client.classify(b"x").label == "Opera"  # the client is as good as before


def test_a_busy_server_is_asked_again(client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry, "pause", lambda _: 0.01)
    counter = f"busy-{client.address.protocol}"
    assert client.classify(b"x", behave="busy", times=4, counter=counter).label == "Opera"


def test_a_queue_that_stays_full(client: Client):
    start = time.monotonic()
    with pytest.raises(tritone_client.ServerBusy, match=r"still busy after .*\(Exceeds maximum queue size\)"):
        client.classify(b"x", behave="busy", times=10**9, timeout=0.5)
    assert time.monotonic() - start < 3


def test_a_really_full_queue_empties(client: Client):
    """Twelve at once to one instance with a queue of one: all are answered in the end."""
    with ThreadPoolExecutor(12) as pool:
        calls = [
            pool.submit(client.classify, b"x", model="narrow", behave="slow", seconds=0.05) for _ in range(12)
        ]
        assert all(call.result().label == "Opera" for call in calls)
    with Client(str(client.address), retries=0) as hasty, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(hasty.classify, b"x", model="narrow", behave="slow", seconds=0.2) for _ in range(4)]
        assert sum(isinstance(call.exception(), tritone_client.ServerBusy) for call in calls) >= 2


def test_models_and_health(client: Client):
    assert [(s.name, s.ready, s.version) for s in client.models()] == [
        ("emotion2vec_plus_large", True, "1"),
        ("musicnn_msd", True, "1"),
        ("narrow", True, "1"),
        ("vgg19_bn_cqt", True, "1"),
    ]
    assert [s.name for s in client.models() if s.explains] == ["vgg19_bn_cqt"]
    health = client.health()
    assert (
        health.live
        and health.ready
        and health.systems
        == {
            "emotion2vec_plus_large": True,
            "musicnn_msd": True,
            "narrow": True,
            "vgg19_bn_cqt": True,
        }
    )


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_no_server(scheme: str):
    url = f"{scheme}://127.0.0.1:{free_ports(1)[0]}"
    refused = pytest.raises(tritone_client.ServerUnavailable, match=rf"at {url} \(Connection refused\)")
    with Client(url, timeout=0.5) as client, refused:
        client.classify(b"x")
    with Client(url, timeout=10) as client:
        start = time.monotonic()
        for method in (client.health, client.ping):
            with pytest.raises(tritone_client.ServerUnavailable, match="Connection refused"):
                method()
        assert time.monotonic() - start < 5  # asked again it takes 10 s


def test_an_answer_to_another_recording_is_asked_for_past_the_cache(client: Client):
    """Triton's cache can be made to take one recording for another; RESULT says what its answer is to."""
    for recording in (b"x", (np.zeros(9, np.float32), 8000)):
        echo = client.classify(recording, behave="poisoned").raw["echo"]
        assert echo["options"] == {"behave": "poisoned", "top_k": 5}
        assert client.classify(recording).raw["sha256"]
        with pytest.raises(tritone_client.InferenceFailed, match="answered a different request"):
            client.classify(recording, behave="mixed")


def test_the_asynchronous_client_asks_past_the_cache_as_well(triton: Triton):
    async def ask(behave: str, recording: bytes = b"x") -> Prediction:
        async with AsyncClient(triton.grpc) as client:
            return await client.classify(recording, behave=behave)

    assert asyncio.run(ask("poisoned")).label == asyncio.run(ask("poisoned", bytes(5 << 20))).label == "Opera"
    with pytest.raises(tritone_client.InferenceFailed, match="a different request"):
        asyncio.run(ask("mixed"))


def test_a_server_that_says_no_hash_is_believed(client: Client, monkeypatch: pytest.MonkeyPatch):
    prediction = client.classify(b"x")
    del prediction.raw["sha256"]
    assert is_answer_to(genre_request(b"y", "m"), prediction)


def test_closing_ends_calls_in_flight(client: Client):
    errors: list[BaseException] = []

    def call() -> None:
        try:
            client.classify(b"x", behave="slow", seconds=2.0)
        except tritone_client.TritoneError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.3)
    client.close()
    thread.join(1)
    assert not thread.is_alive() and len(errors) == 1
    with pytest.raises(tritone_client.TritoneError, match=r"(?i)closed"):
        client.classify(b"x")


def test_closing_ends_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry, "pause", lambda _: 10.0)
    client = Client(f"127.0.0.1:{free_ports(1)[0]}")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.classify, b"x")
        time.sleep(0.2)
        client.close()
        assert isinstance(call.exception(timeout=1), tritone_client.TritoneError)


def test_the_deadline_holds_while_sending_over_a_kept_connection():
    """A server that answers once and then reads no more."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection = listener.accept()[0]
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        over.wait(5)
        connection.close()

    over = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    with Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
        client.ping()
        start = time.monotonic()
        with pytest.raises(tritone_client.DeadlineExceeded):
            client.classify(bytes(64 << 20), timeout=0.5)
        assert time.monotonic() - start < 3
    over.set()
    thread.join()
    listener.close()


def test_an_answer_of_another_version_is_an_error(client: Client, monkeypatch: pytest.MonkeyPatch):
    answer = {"RESULT": np.array([b'{"model": "m", "slices": []}'], object), "LABELS": np.array([b"a"], object)}
    monkeypatch.setattr(client._transport, "infer", lambda *_: answer)
    with pytest.raises(tritone_client.InferenceFailed, match="KeyError: 'vote'"):
        client.classify(b"x")


def test_a_model_without_embeddings_is_named(client: Client):
    with pytest.raises(
        InvalidRecording, match=r"^Model 'vgg19_bn_cqt' has no embedding: ask without it\.$"
    ) as caught:
        client.classify(b"{}", model="vgg19_bn_cqt", embedding=True)
    assert caught.value.code == "option"
