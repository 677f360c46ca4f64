"""Which requests the page answers: those to its own name, not from pages of other sites, for what it uses itself.

An attacker whose name points to this machine (DNS rebinding) has scripts that a browser takes for this page's own.
The browser still sends that name: in Host.
"""

import re
import traceback
from collections.abc import Iterable

from fastapi.responses import PlainTextResponse, Response
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio evaluates templates of its components; nothing is loaded from, or sent to, anywhere else.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self' blob:; "
    "frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
)
LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
API = "/gradio_api/"  # of Gradio, which also serves files of the disk there, and whatever a URL names
USED = ("queue/join", "queue/data", "cancel", "heartbeat/")  # by the page, of the API
POSTS = ("/upload", f"{API}queue/join", f"{API}cancel")
UNKNOWN_HOST = (
    "This page does not answer at this name: open it at an address that it was started on, "
    "or start it with --allow-host and this name.\n"
)
OTHER_SITE = "Pages of other sites cannot use this one: open it in the browser itself.\n"


def name_of(authority: str) -> str | None:
    """The name or address of `name`, `name:port` or `[address]:port`; None for what is none of them."""
    found = AUTHORITY.fullmatch(authority.strip())
    return (found[1] or found[2]).lower() if found else None


class Guard:
    """ASGI middleware: keeps browsers to this server, and closes what Gradio would serve beyond the page.

    `host` is the address that the page listens on, `allowed` are the names that a proxy has for it. Errors of what
    it guards are printed, as uvicorn is silent.
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
        if scope["type"] != "http":  # a WebSocket, which the page does not use
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
        """The answer to a request that goes no further; None for one that does."""
        headers = Headers(scope=scope)
        hosts = [headers.get("host", "")]
        for forwarded in headers.getlist("x-forwarded-host"):  # of which Gradio makes the page's own address
            hosts += [host.strip() for host in forwarded.split(",")]
        reached = {scope["server"][0]} if scope.get("server") else set()  # one of many where it listens on all
        if any(name_of(host) not in self.names | reached for host in hosts):
            return PlainTextResponse(UNKNOWN_HOST, 403)
        path, reads = scope["path"], scope["method"] in ("GET", "HEAD")
        linked = reads and API not in path  # as any site may link to the page
        cross = headers.get("sec-fetch-site") == "cross-site"
        if (cross and not linked) or any(self.foreign(origin, hosts) for origin in headers.getlist("origin")):
            return PlainTextResponse(OTHER_SITE, 403)
        return None if self.open(path, reads) else Response(status_code=404)

    def foreign(self, origin: str, hosts: list[str]) -> bool:
        """Whether an Origin is neither where this request goes nor a name that a proxy has for it."""
        _, _, authority = origin.lower().partition("://")
        return authority not in map(str.lower, hosts) and name_of(authority) not in self.allowed

    @staticmethod
    def open(path: str, reads: bool) -> bool:
        """Whether the page uses this path, so that it is answered."""
        _, api, rest = path.partition(API)
        used = not api or rest.startswith(USED)
        return used and (reads or path.endswith(POSTS))
