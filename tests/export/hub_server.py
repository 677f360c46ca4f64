"""A small server on 127.0.0.1 that speaks the part of the Hugging Face hub's HTTP that a download uses.

Who downloads from it is a process of its own, which finds its address in the environment.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.project import ROOT

PAGE = 4
"""Entries in each answer to a request for a listing; the real hub's have 1000."""
REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds and how it misbehaves.

    Attributes
    ----------
    content : of the checkpoint, and so of every file that is not in `files`
    files : path -> content, of the files that a listing shows
    sizes : path -> bytes that a listing says, where they are others than the content has
    error : (status, X-Error-Code) with which every request is answered
    drop_after : bytes of the first download after which the connection is dropped
    requests : (method, path, Range header) of what was asked
    url : of the hub
    storage : the same server under another name, as the real hub redirects to another host for large files
    """

    content: bytes
    files: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    error: tuple[int, str] | None = None
    drop_after: int | None = None
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""
    storage: str = ""


def run(code: list[str], url: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a hub at `url` in a fresh process: the hub's client reads its environment when imported."""
    env = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **more}
    return subprocess.run([sys.executable, *code], env=env, cwd=ROOT, capture_output=True, text=True, timeout=120)


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
            if not re.search("/resolve/|/storage/|/tree/", self.path):  # the client's own statistics
                self.head(404, {"Content-Length": "0"})
                return
            hub.requests.append((self.command, self.path, self.headers.get("Range")))
            if hub.error:
                status, code = hub.error
                self.head(status, {"X-Error-Code": code, "X-Error-Message": code, "Content-Length": "0"})
            elif self.path.startswith("/storage/"):
                self.storage(body)
            elif self.path.startswith("/api/"):
                self.tree()
            else:
                path = unquote(self.path.split(f"/resolve/{REVISION}/")[1])
                content = hub.files.get(path, hub.content)
                digest = hashlib.sha256(content).hexdigest()
                self.head(
                    302,
                    {
                        "Location": f"{hub.storage}/storage/{digest}",
                        "X-Repo-Commit": REVISION,
                        "X-Linked-Etag": f'"{digest}"',
                        "X-Linked-Size": str(len(content)),
                        "ETag": '"pointer"',
                        "Content-Length": "0",
                    },
                )

        def tree(self):
            """List the files below a folder, by pages that name the next one in the header Link."""
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            folder = unquote(url.path.split(f"/tree/{REVISION}/")[1])
            assert query["recursive"] == ["true"]
            paths = [path for path in hub.files if path.startswith(f"{folder}/")]
            if not paths:
                self.head(404, {"X-Error-Code": "EntryNotFound", "Content-Length": "0"})
                return
            folders = {path.rpartition("/")[0] for path in paths} - {folder}
            entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in sorted(folders)]
            for path in paths:
                size = hub.sizes.get(path, len(hub.files[path]))
                digest = hashlib.sha256(hub.files[path]).hexdigest()
                lfs = {"oid": digest, "size": size, "pointerSize": 130}
                entries.append({"type": "file", "oid": "0" * 40, "size": size, "path": path, "lfs": lfs})
            start = int(query.get("cursor", ["0"])[0])
            body = json.dumps(entries[start : start + PAGE]).encode()
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
            if start + PAGE < len(entries):
                following = f"{hub.url}{url.path}?recursive=true&cursor={start + PAGE}"
                headers["Link"] = f'<{following}>; rel="next"'
            self.head(200, headers)
            self.wfile.write(body)

        def storage(self, body):
            contents = {hashlib.sha256(each).hexdigest(): each for each in (hub.content, *hub.files.values())}
            content = contents[self.path.removeprefix("/storage/")]
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(wanted[1]) if wanted else 0
            part = content[start:]
            self.head(
                206 if wanted else 200,
                {
                    "Content-Length": str(len(part)),
                    "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}",
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
