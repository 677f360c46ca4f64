"""A small server on 127.0.0.1 that speaks the part of the Hugging Face hub's HTTP that a download uses."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds and how it misbehaves.

    Attributes
    ----------
    content : the one file of the repository
    error : (status, X-Error-Code) with which every request is answered
    drop_after : bytes of the first download after which the connection is dropped
    requests : (method, path, Range header) of what was asked
    url : of the hub
    storage : the same server under another name, as the real hub redirects to another host for large files
    """

    content: bytes
    error: tuple[int, str] | None = None
    drop_after: int | None = None
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""
    storage: str = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Answer requests until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def log_message(self, *_):
            pass

        def answer(self, body):
            if "/resolve/" not in self.path and "/storage/" not in self.path:  # the client's own statistics
                self.head(404, {"Content-Length": "0"})
                return
            hub.requests.append((self.command, self.path, self.headers.get("Range")))
            if hub.error:
                status, code = hub.error
                self.head(status, {"X-Error-Code": code, "X-Error-Message": code, "Content-Length": "0"})
            elif self.path.startswith("/storage/"):
                self.storage(body)
            else:
                digest = hashlib.sha256(hub.content).hexdigest()
                self.head(
                    302,
                    {
                        "Location": f"{hub.storage}/storage/{digest}",
                        "X-Repo-Commit": REVISION,
                        "X-Linked-Etag": f'"{digest}"',
                        "X-Linked-Size": str(len(hub.content)),
                        "ETag": '"pointer"',
                        "Content-Length": "0",
                    },
                )

        def storage(self, body):
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(wanted[1]) if wanted else 0
            part = hub.content[start:]
            self.head(
                206 if wanted else 200,
                {
                    "Content-Length": str(len(part)),
                    "Content-Range": f"bytes {start}-{len(hub.content) - 1}/{len(hub.content)}",
                    "Accept-Ranges": "bytes",
                },
            )
            if body and hub.drop_after is not None:
                self.wfile.write(part[: hub.drop_after])
                hub.drop_after = None
                self.close_connection = True
            elif body:
                self.wfile.write(part)

        def head(self, status, headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.storage = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
