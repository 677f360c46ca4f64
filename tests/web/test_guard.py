"""What a page that others can reach does not do for them: serve files, fetch addresses, keep what they send."""

import asyncio
import http.client
import json
import socket
import subprocess
import urllib.request
from urllib.parse import urlsplit

import pytest
from tritone_client import TritoneError
from tritone_client.web.app import serve
from tritone_client.web.guard import Guard, name_of
from tritone_client.web.uploads import LIMIT_MB

from tests.support.command import TRITONE
from tests.web.browser import EXAMPLE, JSON, put, question, status, tritone_web, upload

JOIN, DATA = "/en/gradio_api/queue/join", "/en/gradio_api/queue/data?session_hash=s"


def answer(url: str, path: str, host: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """The status and the body of a request to the page by the name `host`, as a browser would send it."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, b"{}" if method == "POST" else None, {"Host": host, **names})
    response = connection.getresponse()
    body = response.read(2000).decode()
    connection.close()
    return response.status, body


def test_nothing_of_the_disk_but_examples_is_served(url, examples):
    assert status(f"{url}/examples/0") == 200
    assert status(f"{url}/examples/3") == 404  # notes.txt
    example = examples / f"{EXAMPLE}.wav"
    for path in ("/etc/hostname", str(examples / "notes.txt"), str(example), "http://127.0.0.1:9/"):
        quoted = urllib.request.quote(path)
        for route in ("gradio_api/file=", "gradio_api/file/", "file="):
            assert status(f"{url}/en/{route}{quoted}") == 404
    with urllib.request.urlopen(f"{url}/en/") as response:
        assert "default-src 'self'" in response.headers["content-security-policy"]


def test_nothing_is_fetched_and_uploads_are_gone_when_the_page_ends(triton, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as other, tritone_web(f"--url={triton.grpc}") as (url, _):
        (folder,) = tmp_path.glob("tritone-web-*")
        other.setblocking(False)
        for host in ("recordings.example", f"127.0.0.1:{other.getsockname()[1]}"):
            named = {"path": f"http://{host}/a.mp3", "meta": {"_type": "gradio.FileData"}}
            end = put(url, question(named))
            assert (end["success"], end["output"]["error"]) == (False, "Recordings are uploaded, not fetched.")
        assert list(folder.iterdir()) == []  # where Gradio makes a folder before it connects
        with pytest.raises(BlockingIOError):
            other.accept()

        name = upload(url, b"a song")
        (path,) = (path for path in folder.rglob("*") if path.is_file())
        assert (path.name, path.read_bytes()) == (name, b"a song")
        assert status(f"{url}/en/gradio_api/file={path}") == 404
    assert not folder.exists()


def test_a_page_that_others_can_reach_says_so():
    command = [TRITONE, "web", "--port=0", "--host=0.0.0.0", "--url=127.0.0.1:9"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert "0.0.0.0" in process.stdout.readline()
        finally:
            process.terminate()
        warning = process.stderr.read()
    assert warning.startswith("tritone: The page listens on 0.0.0.0 and has no authentication: everyone")
    assert warning.count("no authentication") == 1


def test_of_gradio_only_what_the_page_uses_is_open(url):
    for path in ("upload", "queue/join/", "run/ask", "call/ask", "process_recording", "component_server"):
        assert status(f"{url}/en/gradio_api/{path}", b"{}", **JSON) == 404
    for path in ("upload_progress?upload_id=a", "deep_link?session_hash=s", "info", "openapi.json"):
        assert status(f"{url}/en/gradio_api/{path}") == 404
    assert status(f"{url}/en/login", b"{}", **JSON) == 404


def test_what_is_posted_to_gradio_is_small(url):
    assert status(url + JOIN, json.dumps({"data": ["a" * (1 << 16)]}).encode(), **JSON) == 413


def test_an_upload_in_chunks_has_the_limit_too(url):
    """Sent in chunks, which do not say how long the whole is, and stopped one byte above."""
    content = bytes(LIMIT_MB << 20)
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=20) as connection:
        connection.sendall(
            b"POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n"
            % (len(content), content)
        )
        connection.sendall(b"1\r\na\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_the_page_answers_at_its_own_names_only(url):
    port = urlsplit(url).port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", "localhost:80"):
        assert answer(url, "/en/", host)[0] == 200, host
    for host in (f"rebound.example:{port}", "localhost.rebound.example", "127.0.0.2", "", "a@localhost", "::1"):
        for path in ("/", "/en/", "/ready", "/examples/0", DATA, "/favicon.ico"):
            code, sentence = answer(url, path, host)
            assert code == 403 and "--allow-host" in sentence, (host, path)
        assert answer(url, "/upload", host, "POST")[0] == 403
    assert answer(url, "/en/", "localhost", X_Forwarded_Host="rebound.example")[0] == 403
    with socket.create_connection((urlsplit(url).hostname, port), timeout=20) as connection:
        connection.sendall(b"GET /en/ HTTP/1.0\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 403"


def test_pages_of_other_sites_cannot_use_it(url):
    host = urlsplit(url).netloc
    for origin in (
        "https://other.example",
        f"https://other.example/?{host}",
        "null",
        "http://localhost:1",
        "http://[",
    ):
        for method, path in (("POST", "/upload"), ("POST", JOIN), ("OPTIONS", JOIN), ("GET", DATA)):
            code, sentence = answer(url, path, host, method, Origin=origin)
            assert code == 403 and "other sites" in sentence, (origin, method, path)
        socket_ = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        socket_["Sec_WebSocket_Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
        assert answer(url, DATA, host, Origin=origin, **socket_)[0] == 403
    assert answer(url, "/upload", host, "POST", Origin=url)[0] == 200
    assert answer(url, "/upload", host, "POST", Sec_Fetch_Site="same-origin")[0] == 200
    assert answer(url, "/upload", host, "POST", Sec_Fetch_Site="cross-site")[0] == 403
    assert answer(url, DATA, host, Sec_Fetch_Site="cross-site")[0] == 403
    assert answer(url, "/en/", host, Sec_Fetch_Site="cross-site")[0] == 200  # a link there


@pytest.mark.slow
def test_a_proxy_has_names_of_its_own(triton):
    with tritone_web(f"--url={triton.grpc}", "--allow-host=songs.example", "--allow-host=[2001:db8::1]") as (
        url,
        _,
    ):
        for host in ("songs.example", "SONGS.example:8443", "[2001:db8::1]", "localhost"):
            assert answer(url, "/en/", host)[0] == 200
        assert answer(url, "/en/", "other.example")[0] == 403
        origin = "https://songs.example"
        for host, name in (("songs.example", "songs.example"), ("127.0.0.1", "songs.example"), ("127.0.0.1", "")):
            forwarded = {"X_Forwarded_Host": name} if name else {}
            assert answer(url, "/upload", host, "POST", Origin=origin, **forwarded)[0] == 200
        assert answer(url, "/upload", "songs.example", "POST", Origin="https://other.example")[0] == 403
    with pytest.raises(TritoneError, match=r"--allow-host takes a name .* not 'https://songs.example/'"):
        serve("127.0.0.1:8001", "127.0.0.1", 0, [], 1.0, {}, ["https://songs.example/"])


@pytest.mark.slow
def test_where_it_listens_on_all_addresses_it_answers_at_each(triton):
    with tritone_web(f"--url={triton.grpc}", "--host=0.0.0.0") as (address, _):
        url = f"http://127.0.0.2:{urlsplit(address).port}"
        assert answer(url, "/en/", urlsplit(url).netloc)[0] == 200
        assert answer(url, "/en/", "127.0.0.3")[0] == 403
        assert answer(url, "/en/", "rebound.example")[0] == 403


def test_web_sockets_are_closed():
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    asyncio.run(Guard(None)({"type": "websocket", "path": DATA, "headers": []}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("Songs.Example:80", "songs.example"),
        ("[::1]:7860", "::1"),
        ("[::1", None),
        ("", None),
        ("a b", None),
        ("a:b", None),
        ("a@b", None),
        ("a/b", None),
        ("a,b", None),
        ("ａ.example", None),
    ],
)
def test_names(authority, name):
    assert name_of(authority) == name
