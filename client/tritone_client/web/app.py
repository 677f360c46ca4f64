"""The page as a web application: one Gradio page per language, examples, readiness, and a guard around them."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import gradio as gr
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from gradio import processing_utils
from starlette.requests import ClientDisconnect
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
CROSS_SITE = (b"sec-fetch-site", b"cross-site")  # what a browser says of a request from another site's page
UPLOAD_SECONDS = 3600  # that uploads are kept


class Guard:
    """ASGI middleware: keeps browsers to this server, and closes what Gradio would serve beyond the page.

    Errors of what it guards are printed, as uvicorn is told to be silent.
    """

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

        app = self.app
        if any(part in scope["path"] for part in CLOSED):
            app = Response(status_code=404)
        elif scope["method"] == "POST" and CROSS_SITE in scope["headers"]:
            app = Response(status_code=403)
        try:
            await app(scope, receive, guarded)
        except ClientDisconnect:
            raise
        except Exception:
            traceback.print_exc()
            raise


async def not_fetched(url: str, cache_dir: str) -> NoReturn:
    """Stands in for Gradio's download of whatever address a visitor names in an input."""
    raise gr.Error("Recordings are uploaded, not fetched.", print_exception=False)


def build_app(client: AsyncClient, uploads: Path, examples: Sequence[Path] = ()) -> FastAPI:
    """The application; `uploads` is the folder that the environment's GRADIO_TEMP_DIR names."""
    files = Uploads(uploads, examples)
    # Gradio downloads before a handler is asked: a visitor could make this machine ask another, and fill its disk.
    processing_utils.async_ssrf_protected_download = not_fetched

    async def sweep() -> None:  # Gradio's own leaves uploads that broke off
        while True:
            await asyncio.sleep(UPLOAD_SECONDS / 6)
            await asyncio.to_thread(files.sweep, UPLOAD_SECONDS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(sweep())
        yield
        sweeping.cancel()
        await client.close()

    # Gradio limits files only; a form's other fields it keeps in memory.
    app = FastAPI(lifespan=lifespan, openapi_url=None, max_body_size=(LIMIT_MB + 1) << 20)

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
            build_page(client, files, language),
            path=f"/{language}",
            theme=THEME,
            css_paths=HERE / "page.css",
            js=f"() => {{ document.documentElement.lang = '{language}'; "
            "document.getElementById('t-result').ariaLive = 'polite'; }",
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
        # Silent: visitors who leave, and those who are there at the end, would be tracebacks.
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        print(f"Tritone's page: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        server.run(sockets=[listener])
