"""The page as a web application: one Gradio page per language, uploads, examples, readiness, and a guard."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import gradio as gr
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from gradio import processing_utils
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.routing import Route

from tritone_client.aio import AsyncClient
from tritone_client.defaults import WEB_QUOTA_MB
from tritone_client.errors import TritoneError
from tritone_client.web.guard import LOCAL, Guard, name_of
from tritone_client.web.page import THEME, build_page
from tritone_client.web.texts import LANGUAGES, preferred
from tritone_client.web.uploads import Refused, Uploads

HERE = Path(__file__).parent
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect width="32" height="32" rx="8" fill="#2563c9"/>'
    '<path d="M9 19v5m7-16v16m7-10v10" stroke="#fff" stroke-width="4" stroke-linecap="round"/></svg>'
)
OPEN = (
    "tritone: The page listens on {host} and has no authentication: everyone who can reach this machine can use "
    "it. Put a proxy that authenticates in front."
)
QUESTION_BYTES = 1 << 16  # maximum size of a post to Gradio, which keeps it in memory
UPLOAD_SECONDS = 900  # maximum duration of an upload


async def not_fetched(url: str, cache_dir: str) -> NoReturn:
    """Replace Gradio's function that downloads any address in a visitor's input."""
    raise gr.Error("Recordings are uploaded, not fetched.", print_exception=False)


def build_app(client: AsyncClient, files: Uploads, host: str = "127.0.0.1", allowed: Sequence[str] = ()) -> Guard:
    """Return the application, which listens on `host` and which proxies call by the names in `allowed`."""
    # Gradio downloads before it calls a handler: visitors could make this machine send requests, or fill its disk.
    processing_utils.async_ssrf_protected_download = not_fetched

    async def sweep() -> None:
        while True:
            await asyncio.sleep(60)
            files.sweep()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(sweep())
        yield
        sweeping.cancel()
        await client.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=QUESTION_BYTES)

    @app.get("/")
    def choose_language(request: Request) -> Response:
        language = preferred(request.headers.get("accept-language", ""))
        return RedirectResponse(f"/{language}/", headers={"vary": "accept-language"})

    @app.get("/ready")
    async def ready() -> dict[str, Any]:
        """Report that the page is up, and whether it reaches the server."""
        with suppress(TritoneError):
            await client.ping()
            return {"page": True, "server": True}
        return {"page": True, "server": False}

    # Not Gradio's upload, which keeps a form's fields in memory and any number of files on disk.
    async def upload(request: Request) -> Response:
        """Keep the body, and return the name by which a question refers to it."""

        async def kept() -> str:
            chunks = request.stream()
            try:
                return await files.add(chunks)
            except Refused as refusal:
                async for _ in chunks:  # a browser that is cut off while it sends does not show the answer
                    pass
                raise HTTPException(507, refusal.sentence("en")) from None

        try:
            return JSONResponse({"upload": await asyncio.wait_for(kept(), UPLOAD_SECONDS)})
        except asyncio.TimeoutError:
            raise HTTPException(408, f"The upload took longer than {UPLOAD_SECONDS} s: try again.") from None

    app.router.routes.append(Route("/upload", upload, methods=["POST"], max_body_size=files.limit << 20))

    @app.get("/examples/{index}")
    def example(index: int) -> Response:
        if not 0 <= index < len(files.examples):
            raise HTTPException(404)
        return FileResponse(files.examples[index])

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(ICON, media_type="image/svg+xml")

    @app.get("/manifest.json")  # Gradio's page requests it at the root
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
            footer_links=[],
            run_history=False,
            show_error=False,
            ssr_mode=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
        )
    return Guard(app, host, allowed)


def serve(
    url: str,
    host: str,
    port: int,
    examples: Sequence[Path],
    timeout: float,
    connection: Mapping[str, Any],
    allowed: Sequence[str] = (),
    quota: int = WEB_QUOTA_MB,
) -> None:
    """Serve the page until SIGINT or SIGTERM; uploads are in a folder that is deleted at the end.

    `allowed` are the host names by which proxies call the page; uploads take at most `quota` MB. Raises
    `TritoneError` if a name, the address of the server or that of the page cannot be used.
    """
    for name in allowed:
        if name_of(name) is None:
            raise TritoneError(f"--allow-host takes a name such as songs.example.org, not '{name}'.")
    client = AsyncClient(url, timeout=timeout, **connection)
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise TritoneError(
            f"The page cannot listen on {host}, port {port} ({error}): choose another --port, 0 for a free one."
        ) from None
    port = listener.getsockname()[1]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again when it has ended
    with tempfile.TemporaryDirectory(prefix="tritone-web-") as folder, suppress(KeyboardInterrupt):
        os.environ["GRADIO_TEMP_DIR"] = folder
        app = build_app(client, Uploads(Path(folder), examples, quota), host, allowed)
        # Silent: visitors who leave, and those connected at the end, would cause tracebacks.
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        if host not in LOCAL:
            print(OPEN.format(host=host), file=sys.stderr, flush=True)
        print(f"Tritone's page: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        server.run(sockets=[listener])
