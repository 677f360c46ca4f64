"""The health check against a server that answers as told."""

import http.server
import io
import json
import os
import subprocess
import sys
import threading
import wave

import pytest

from server import healthcheck
from tests.support import tiny
from tests.support.project import ROOT


@pytest.fixture
def answering():
    """A server; `answers` is (status, body, seconds to wait) and `seen` the bodies it got."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            server.seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            status, body, seconds = server.answers
            server.hurry.wait(seconds)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            server.count += server.each
            self.send_response(200)
            self.end_headers()
            counts = {"success": {"count": server.count}, "fail": {"count": 0}}
            entry = {"name": self.path.split("/")[3], "inference_stats": counts}
            self.wfile.write(json.dumps({"model_stats": [entry]}).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.count = server.each = 0  # requests that the network has run, and how many more at each look
    server.seen, server.hurry, server.answers = [], threading.Event(), (200, b'{"name":"RESULT"}', 0)
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.hurry.set()
    server.shutdown()
    server.server_close()


def test_every_probe_is_a_new_wav_file_of_a_second(answering):
    for _ in range(5):
        healthcheck.probe(answering.url, "tiny", 5)
    assert {path for path, _ in answering.seen} == {"/v2/models/tiny_chain/infer"}
    assert len({body for _, body in answering.seen}) == 5
    with wave.open(io.BytesIO(answering.seen[0][1].partition(b"RIFF")[2].join([b"RIFF", b""]))) as file:
        assert file.getnframes() == file.getframerate() == 8000


@pytest.mark.parametrize("answer", [(503, b"Exceeds maximum queue size", 0), (200, b"RESULT", 5)])
def test_a_full_or_long_queue_is_life_only_where_others_are_answered(answering, answer):
    answering.answers, answering.each = answer, 1
    healthcheck.ask(answering.url, "tiny", 0.6)
    answering.each = 0
    with pytest.raises(healthcheck.Unhealthy, match="tiny has answered nothing for 1 s"):
        healthcheck.ask(answering.url, "tiny", 0.6)


@pytest.mark.parametrize("answer", [(500, b"not healthy", 0), (400, b"not audio", 0), (200, b"nothing", 0)])
def test_errors_and_empty_answers_are_not(answering, answer):
    answering.answers = answer
    with pytest.raises(healthcheck.Unhealthy, match="tiny answered"):
        healthcheck.probe(answering.url, "tiny", 5)


def test_no_answer_in_time(answering):
    answering.answers = (200, b"RESULT", 5)
    with pytest.raises(TimeoutError):
        healthcheck.probe(answering.url, "tiny", 0.2)


def test_nobody_there():
    with pytest.raises(OSError):
        healthcheck.probe("http://127.0.0.1:9", "tiny", 1)


def test_as_a_command_with_nothing_but_the_standard_library(answering, tmp_path, monkeypatch):
    repository = tiny.write_repository(tmp_path)
    command = [sys.executable, "-S", "-m", "server.healthcheck", f"--url={answering.url}"]
    command.append(f"--model-repository={tmp_path}")

    def check() -> subprocess.CompletedProcess:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    assert check().returncode == 0
    monkeypatch.setenv("TRITONE_SYSTEMS", "elsewhere, ")  # what is exported and not served cannot answer
    assert check().returncode == 0 and "/elsewhere_chain/" in answering.seen[-1][0]
    monkeypatch.delenv("TRITONE_SYSTEMS")
    answering.answers = (500, b"Stub process is not healthy", 0)
    failed = check()
    assert failed.returncode == 1
    assert "tiny answered 500: Stub process is not healthy" in failed.stderr
    (repository / "tiny_network/1/model.onnx").unlink()  # only exported systems are asked
    assert check().stderr == f"no exported network in {tmp_path}: run make export\n"


def test_the_container_is_ended_after_failures_in_a_row(answering, tmp_path, monkeypatch):
    tiny.write_repository(tmp_path)
    killed = []
    monkeypatch.setattr(healthcheck, "FAILURES", tmp_path / "failures")
    monkeypatch.setattr(healthcheck.os, "kill", lambda pid, number: killed.append(pid))
    flags = [f"--url={answering.url}", f"--model-repository={tmp_path}", "--stop-after=2"]
    monkeypatch.setattr(sys, "argv", ["healthcheck", *flags])
    good, bad = (200, b"RESULT", 0), (500, b"", 0)
    for answering.answers in (bad, bad, bad, good, bad):  # the first three: it is loading
        try:
            healthcheck.main()
        except SystemExit as end:
            assert end.code
    assert not killed
    with pytest.raises(SystemExit):
        healthcheck.main()
    assert killed == [1]
