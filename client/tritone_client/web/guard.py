"""Decides which requests the page answers: those to its own host name, from its own site, to paths that it uses.

If an attacker's host name points to this machine (DNS rebinding), a browser treats the attacker's scripts as this
page's own. The browser still sends that host name, in the header Host.
"""

import re
import traceback
from collections.abc import Iterable

from fastapi.responses import PlainTextResponse, Response
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio evaluates templates of its components; nothing is loaded from or sent to other hosts.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self' blob:; "
    "frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
)
LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
API = "/gradio_api/"  # where Gradio would also serve files on the disk, and proxy any URL
USED = ("queue/join", "queue/data", "cancel", "heartbeat/")  # paths of the API that the page uses
POSTS = ("/upload", f"{API}queue/join", f"{API}cancel")
UNKNOWN_HOST = (
    "This page is not available under this host name: open the address on which it was started, "
    "or start it with --allow-host and this name.\n"
)
OTHER_SITE = "Pages of other sites cannot use this page: open it directly in the browser.\n"


def name_of(authority: str) -> str | None:
    """Return the host in `name`, `name:port` or `[address]:port`; None for anything else."""
    found = AUTHORITY.fullmatch(authority.strip())
    return (found[1] or found[2]).lower() if found else None


class Guard:
    """ASGI middleware: keeps browsers to this server, and blocks the paths of Gradio that the page does not use.

    `host` is the address on which the page listens, `allowed` are the host names by which proxies call it. The
    guard prints the application's exceptions, as uvicorn is silent.
    """

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1", allowed: Iterable[str] = ()) -> None:
        self.app = app
        self.allowed = {name_of(name) for name in allowed} - {None}
        self.names = LOCAL | {host.lower()} | self.allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on and add the headers to its answer."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # WebSockets, which the page does not use
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in headers.items()),
                ]
            await send(message)

        try:
            await (self.refusal(scope) or self.app)(scope, receive, guarded)
        except ClientDisconnect:
            raise
        except Exception:
            traceback.print_exc()
            raise

    def refusal(self, scope: Scope) -> Response | None:
        """Return the response to a rejected request, None for an accepted one."""
        headers = Headers(scope=scope)
        hosts = [headers.get("host", "")]
        for forwarded in headers.getlist("x-forwarded-host"):  # Gradio builds the page's own address from it
            hosts += [host.strip() for host in forwarded.split(",")]
        reached = (
            {scope["server"][0]} if scope.get("server") else set()
        )  # one of many if it listens on all addresses
        if any(name_of(host) not in self.names | reached for host in hosts):
            return PlainTextResponse(UNKNOWN_HOST, 403)
        path, reads = scope["path"], scope["method"] in ("GET", "HEAD")
        linked = reads and API not in path  # any site may link to the page
        cross = headers.get("sec-fetch-site") == "cross-site"
        if (cross and not linked) or any(self.foreign(origin, hosts) for origin in headers.getlist("origin")):
            return PlainTextResponse(OTHER_SITE, 403)
        return None if self.open(path, reads) else Response(status_code=404)

    def foreign(self, origin: str, hosts: list[str]) -> bool:
        """Return whether an Origin is neither this request's host nor one by which a proxy calls the page."""
        _, _, authority = origin.lower().partition("://")
        return authority not in map(str.lower, hosts) and name_of(authority) not in self.allowed

    @staticmethod
    def open(path: str, reads: bool) -> bool:
        """Return whether the page uses this path, so that requests to it are accepted."""
        _, api, rest = path.partition(API)
        used = not api or rest.startswith(USED)
        return used and (reads or path.endswith(POSTS))
