"""Small requests that kill, fill or lock Triton 24.10: it withstands them, or answers again within ten seconds."""

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

from bench import hostile
from bench.hostile import Target
from tests.support import tiny
from tests.support.launcher import Load, alive, shared_memory
from tests.support.waiting import wait_until

HEAL_SECONDS = 10
ROWS = {"name": "ROWS", "shape": [1, 3], "datatype": "FP32"}


def target(launcher) -> Target:
    return Target(launcher.http.removeprefix("http://"), "tiny", ROWS | {"data": [1, 2, 3]}, "LOGITS", tiny.wav())


def test_requests_that_must_not_harm_the_server_do_not(launch):
    launcher = launch().until_ready()
    pid = launcher.triton()
    with Load(launcher) as load:
        for attack in hostile.WITHSTOOD.values():
            attack(target(launcher))
    assert launcher.triton() == pid
    assert load.answers > 20 and not load.wrong


def test_a_header_that_other_web_sites_cannot_send_can_be_required(launch):
    launcher = launch("--require-header=yes").until_ready()
    headers = {"Inference_Header_Content_Length": "0", "Content_Type": "text/plain"}
    assert target(launcher).post(tiny.wav(), "tiny_raw", **headers) == 403
    assert target(launcher).post(tiny.wav(), "tiny_raw", **headers, X_Tritone="1") == 200
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
            assert hostile.deep(target(launcher)) is None
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
    assert hostile.compressed(target(launcher)) == 400
    wait_until(lambda: re.search("holds 2.. MiB of shared memory.*; reloaded", launcher.log), 20)
    wait_until(lambda: modes(launcher) == {0o600}, 5)  # also of what was reloaded
    assert launcher.classify_with_retries(tiny.wav(), HEAL_SECONDS)["rows"] == 1


def test_memory_that_a_request_took_comes_back(launch):
    """A tensor that claims 12 GB is allocated before its data are counted."""
    launcher = launch("--memory-margin=400").until_ready()
    target(launcher).ask(ROWS | {"data": [1, 2, 3], "shape": [10**9, 3]}, "tiny_network")
    wait_until(lambda: re.search(r"restarting Triton: it uses \d+ MiB of memory", launcher.log), 20)
    assert launcher.classify_with_retries(tiny.wav(), HEAL_SECONDS)["rows"] == 1


def test_memory_of_old_requests_comes_back_when_nothing_is_asked(launch):
    """What the stack of a thread took, a few hundred MB: below the margin, and no reason to disturb anybody."""
    launcher = launch("--memory-margin=400", "--probe-seconds=0.1").until_ready()  # quiet after three seconds
    pid = launcher.triton()
    with Load(launcher) as load:
        hostile.chunks_of_a_byte(target(launcher))
        time.sleep(5)
    assert launcher.triton() == pid and load.answers and not load.wrong
    wait_until(lambda: re.search(r"it is idle and still holds \d+ MiB of earlier requests", launcher.log), 20)
    assert launcher.classify_with_retries(tiny.wav(), HEAL_SECONDS)["rows"] == 1
