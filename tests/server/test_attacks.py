"""Small requests that kill, fill or lock Triton 24.10: it withstands them, or answers again within ten seconds."""

import gzip
import http.client
import json
import os
import re
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from tritone_client import Client, UnknownModel

from tests.server import tiny
from tests.server.conftest import alive, shared_memory, wait_until
from tests.server.test_supervisor import Load

HEAL_SECONDS = 10
AUDIO = {"name": "AUDIO", "shape": [1], "datatype": "BYTES", "data": ["x"]}
ROWS = {"name": "ROWS", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}


def post(launcher, body: bytes, model: str = "tiny", **headers: str) -> int | None:
    """The status of an inference request over HTTP; None where the server hangs up."""
    connection = http.client.HTTPConnection(launcher.http.removeprefix("http://"), timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", f"/v2/models/{model}/infer", body, named)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def ask(launcher, inputs: list, model: str = "tiny", **more: object) -> int | None:
    return post(launcher, json.dumps({"inputs": inputs, **more}).encode(), model)


def chunks_of_a_byte(launcher) -> None:
    host, port = launcher.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        sock.sendall(b"1\r\na\r\n" * 300_000 + b"0\r\n\r\n")
        sock.recv(100)


def cancelled_calls(launcher) -> None:
    host, port = launcher.http.removeprefix("http://").split(":")
    body = tiny.wav()
    head = "POST /v2/models/tiny_raw/infer HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: 0\r\n"
    for _ in range(40):
        with socket.create_connection((host, int(port)), timeout=20) as sock:
            sock.sendall(f"{head}Content-Type: audio/wav\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


WITHSTOOD = {
    "chunks of a byte": chunks_of_a_byte,
    "nested JSON": lambda launcher: post(launcher, b"[" * 2_000_000),
    "nested data": lambda launcher: ask(launcher, [AUDIO | {"data": ["x", [[[["y"]]]]]}]),
    "a shape beyond memory": lambda launcher: ask(launcher, [AUDIO | {"shape": [2**63 - 1]}]),
    "a negative shape": lambda launcher: ask(launcher, [AUDIO | {"shape": [-1]}]),
    "classification of a string": lambda launcher: ask(
        launcher, [AUDIO], outputs=[{"name": "RESULT", "parameters": {"classification": 1}}]
    ),
    "more classes than there are": lambda launcher: ask(
        launcher, [ROWS], "tiny_network", outputs=[{"name": "LOGITS", "parameters": {"classification": 99}}]
    ),
    "a string as sequence_id": lambda launcher: ask(
        launcher, [ROWS], "tiny_network", parameters={"sequence_id": "a", "sequence_start": True}
    ),
    "shared memory that is not there": lambda launcher: ask(
        launcher,
        [AUDIO | {"parameters": {"shared_memory_region": "x", "shared_memory_byte_size": 9}}],
    ),
    "cancelled calls": cancelled_calls,
}
FATAL = b"[" * 40_000_000  # deeper than a stack of 1 GiB


def test_requests_that_must_not_harm_the_server_do_not(launch):
    launcher = launch().until_ready()
    pid = launcher.triton()
    with Load(launcher) as load:
        for attack in WITHSTOOD.values():
            attack(launcher)
    assert launcher.triton() == pid
    assert load.answers > 20 and not load.wrong


def test_a_header_that_other_web_sites_cannot_send_can_be_required(launch):
    launcher = launch("--require-header=yes").until_ready()
    headers = {"Inference_Header_Content_Length": "0", "Content_Type": "text/plain"}
    assert post(launcher, tiny.wav(), "tiny_raw", **headers) == 403
    assert post(launcher, tiny.wav(), "tiny_raw", **headers, X_Tritone="1") == 200
    with Client(launcher.http) as client, pytest.raises(UnknownModel):  # let in, and then not understood
        client.classify(tiny.wav(), model="tiny")


@pytest.mark.parametrize("size", [5 << 20, 40 << 20])
def test_curl_as_readme_has_it(running, size, tmp_path):
    """Curl calls a body a form by default, which libevhtp parses by recursion."""
    song = tmp_path / "song.wav"
    song.write_bytes(tiny.wav(20, rate=size // 40))
    url = f"{running.http}/v2/models/tiny_raw/infer"
    command = ["curl", "-sS", "--data-binary", f"@{song}", "-H", "Inference-Header-Content-Length: 0", url]
    answer = subprocess.run(command, capture_output=True, check=True).stdout
    assert json.loads(answer[answer.index(b'{"rows"') :])["rows"] == 20


@pytest.mark.parametrize("deaths", [2, pytest.param(7, marks=pytest.mark.slow)])
def test_what_kills_it_is_healed_each_time(launch, deaths):
    """In a row, within a minute: the launcher lives, and whoever asks again gets the right answer."""
    launcher = launch().until_ready()
    with Load(launcher) as load:
        for _ in range(deaths):
            pid = launcher.triton()
            assert post(launcher, FATAL) is None
            died = time.monotonic()
            wait_until(lambda pid=pid: not alive(pid), 5)
            launcher.classify_with_retries(tiny.wav(), HEAL_SECONDS)
            assert time.monotonic() - died < HEAL_SECONDS
            wait_until(launcher.ready_file.exists)
    assert launcher.process.poll() is None
    assert load.answers > deaths and not load.wrong


def test_many_half_open_connections_lock_nobody_out(launch):
    """A launcher with the usual limit of 1024 open files, as a service manager starts it."""
    launcher = launch().until_ready()
    soft, hard = open_files(launcher.triton())
    assert soft == hard
    host, port = launcher.http.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(900):
            stack.enter_context(socket.create_connection((host, int(port))))
        assert launcher.classify(tiny.wav())["rows"] == 1


def open_files(pid: int) -> tuple[str, str]:
    """How many files a process may open, and how many at most."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return tuple(next(line for line in lines if line.startswith("Max open files")).split()[3:5])


def modes(launcher) -> set[int]:
    """Who may read the regions through which recordings pass."""
    regions = [name for name in shared_memory(launcher.memory_prefix()) if "-" in name.removeprefix("tritone-")]
    assert len(regions) > 3
    return {os.stat(f"/dev/shm/{name}").st_mode & 0o777 for name in regions}


def test_shared_memory_that_a_request_took_comes_back(launch):
    """A region keeps its largest request, here one that is small on its way."""
    launcher = launch().until_ready()
    assert modes(launcher) == {0o600}
    headers = {"Content_Encoding": "gzip", "Inference_Header_Content_Length": "0", "Content_Type": "audio/wav"}
    assert post(launcher, gzip.compress(bytes(200 << 20)), "tiny_raw", **headers) == 400
    wait_until(lambda: re.search("holds 2.. MiB of shared memory.*was loaded anew", launcher.log), 20)
    wait_until(lambda: modes(launcher) == {0o600}, 5)  # also of what was loaded anew
    assert launcher.classify_with_retries(tiny.wav(), HEAL_SECONDS)["rows"] == 1


def test_memory_that_a_request_took_comes_back(launch):
    """A tensor that claims 12 GB is allocated before its data are counted."""
    launcher = launch("--memory-margin=400").until_ready()
    ask(launcher, [ROWS | {"shape": [10**9, 3]}], "tiny_network")
    wait_until(lambda: re.search(r"Triton is started anew: it holds \d+ MiB of memory", launcher.log), 20)
    assert launcher.classify_with_retries(tiny.wav(), HEAL_SECONDS)["rows"] == 1
