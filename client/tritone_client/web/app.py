"""The page as a web application: one Gradio page per language, examples, readiness, and a guard around them."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tritone_client.aio import AsyncClient
from tritone_client.errors import TritoneError
from tritone_client.web.asking import Uploads
from tritone_client.web.page import LIMIT_MB, THEME, build_page
from tritone_client.web.texts import LANGUAGES, preferred

HERE = Path(__file__).parent
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect width="32" height="32" rx="8" fill="#2563c9"/>'
    '<path d="M9 19v5m7-16v16m7-10v10" stroke="#fff" stroke-width="4" stroke-linecap="round"/></svg>'
)
# Gradio evaluates templates of its components; nothing is loaded from, or sent to, anywhere else.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self' blob:; "
    "frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
)
CLOSED = ("/file=", "/proxy=")  # of Gradio: files of the disk, and whatever a URL names; the page needs neither


class Guard:
    """ASGI middleware: keeps browsers to this server, and closes what Gradio would serve beyond the page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on and add the headers to its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in headers.items()),
                ]
            await send(message)

        app = Response(status_code=404) if any(part in scope["path"] for part in CLOSED) else self.app
        await app(scope, receive, guarded)


def build_app(client: AsyncClient, uploads: Path, examples: Sequence[Path] = ()) -> FastAPI:
    """The application; `uploads` is the folder that the environment's GRADIO_TEMP_DIR names."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await client.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    @app.get("/")
    def choose_language(request: Request) -> Response:
        language = preferred(request.headers.get("accept-language", ""))
        return RedirectResponse(f"/{language}/", headers={"vary": "accept-language"})

    @app.get("/ready")
    async def ready() -> dict[str, Any]:
        """That the page is served, and whether it reaches the server."""
        with suppress(TritoneError):
            await client.ping()
            return {"page": True, "server": True}
        return {"page": True, "server": False}

    @app.get("/examples/{index}")
    def example(index: int) -> Response:
        if not 0 <= index < len(examples):
            raise HTTPException(404)
        return FileResponse(examples[index])

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(ICON, media_type="image/svg+xml")

    @app.get("/manifest.json")  # which Gradio's page asks for at the root
    def manifest() -> dict[str, Any]:
        return {"name": "Tritone", "start_url": "/", "display": "browser"}

    for language in LANGUAGES:
        gr.mount_gradio_app(
            app,
            build_page(client, Uploads(uploads, examples), language),
            path=f"/{language}",
            theme=THEME,
            css_paths=HERE / "page.css",
            js=f"() => {{ document.documentElement.lang = '{language}'; }}",
            max_file_size=f"{LIMIT_MB}mb",
            footer_links=[],
            run_history=False,
            show_error=False,
            ssr_mode=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
        )
    app.add_middleware(Guard)
    return app


def serve(
    url: str, host: str, port: int, examples: Sequence[Path], timeout: float, connection: Mapping[str, Any]
) -> None:
    """Serve the page until SIGINT or SIGTERM; uploads lie in a folder that is deleted then.

    Raises `TritoneError` where the address of the server or that of the page cannot be used.
    """
    client = AsyncClient(url, timeout=timeout, **connection)
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise TritoneError(
            f"The page cannot listen on {host}, port {port} ({error}): choose another --port, 0 for a free one."
        ) from None
    port = listener.getsockname()[1]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when it has ended
    with tempfile.TemporaryDirectory(prefix="tritone-web-") as folder, suppress(KeyboardInterrupt):
        os.environ["GRADIO_TEMP_DIR"] = folder
        app = build_app(client, Path(folder), examples)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        print(f"Tritone's page: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        server.run(sockets=[listener])
