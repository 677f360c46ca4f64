"""What a page that others can reach does not do for them: serve files, fetch addresses, keep what they send."""

import json
import socket
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tritone_client.web.page import LIMIT_MB

from tests.web.browser import FORM, MULTIPART, status, tritone_web

UPLOAD = "/en/gradio_api/upload"


def put(url: str, data: list[object]) -> dict[str, object]:
    """Put inputs to the handler that asks, as the page's script does; how that ends."""
    with urllib.request.urlopen(f"{url}/en/config") as response:
        (handler,) = (d["id"] for d in json.load(response)["dependencies"] if len(d["inputs"]) == len(data))
    body = json.dumps({"data": data, "fn_index": handler, "session_hash": "s"}).encode()
    join = urllib.request.Request(f"{url}/en/gradio_api/queue/join", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(join).close()
    with urllib.request.urlopen(f"{url}/en/gradio_api/queue/data?session_hash=s", timeout=20) as events:
        for line in events:
            if b"process_completed" in line:
                return json.loads(line.removeprefix(b"data:"))
    raise AssertionError("no end")


def test_nothing_of_the_disk_but_examples_is_served(url, examples):
    assert status(f"{url}/examples/0") == 200
    assert status(f"{url}/examples/1") == 404  # notes.txt
    for path in ("/etc/hostname", str(examples / "notes.txt"), "http://127.0.0.1:9/"):
        assert status(f"{url}/en/gradio_api/file={path}") == 404
    with urllib.request.urlopen(f"{url}/en/") as response:
        assert "default-src 'self'" in response.headers["content-security-policy"]


def test_nothing_is_fetched_and_uploads_are_gone_when_the_page_ends(triton):
    before = set(Path(tempfile.gettempdir()).glob("tritone-web-*"))
    with socket.create_server(("127.0.0.1", 0)) as other, tritone_web(f"--url={triton.grpc}") as (url, _):
        (folder,) = set(Path(tempfile.gettempdir()).glob("tritone-web-*")) - before
        other.setblocking(False)
        for host in ("recordings.example", f"127.0.0.1:{other.getsockname()[1]}"):
            named = {"path": f"http://{host}/a.mp3", "meta": {"_type": "gradio.FileData"}}
            end = put(url, [named, "vgg19_bn_cqt", "", 0, "", 0.7, 1, True])
            assert (end["success"], end["output"]["error"]) == (False, "Recordings are uploaded, not fetched.")
        assert list(folder.iterdir()) == []  # where Gradio makes a folder before it connects
        with pytest.raises(BlockingIOError):
            other.accept()

        assert status(url + UPLOAD, FORM % b"a song", **MULTIPART) == 200
        (upload,) = (path for path in folder.rglob("*") if path.is_file())
        assert upload.read_bytes() == b"a song"
        assert status(f"{url}/en/gradio_api/file={upload}") == 404
    assert not folder.exists()


def test_other_sites_pages_cannot_post(url):
    assert status(url + UPLOAD, FORM % b"a song", **MULTIPART, **{"Sec-Fetch-Site": "same-origin"}) == 200
    assert status(url + UPLOAD, FORM % b"a song", **MULTIPART, **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert status(f"{url}/en/", **{"Sec-Fetch-Site": "cross-site"}) == 200  # a link there


def test_what_is_no_file_has_the_limit_too(url):
    """Sent in chunks, which do not tell how long the whole is, and stopped one byte above."""
    field = b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n'.ljust((LIMIT_MB + 1) << 20, b"a")
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=20) as connection:
        connection.sendall(
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (UPLOAD.encode(), len(field), field)
        )
        connection.sendall(b"1\r\na\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"
