"""`tritone web`: a web page for the server."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from tritone_client.cli.options import TIMEOUT, URL, Timeout, Url, connection
from tritone_client.defaults import WEB_PORT, WEB_QUOTA_MB
from tritone_client.errors import TritoneError
from tritone_client.files import SUFFIXES


def web(
    url: Url = URL,
    host: Annotated[
        str, typer.Option(envvar="TRITONE_WEB_HOST", help="Address to listen on; 0.0.0.0 for every network.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(envvar="TRITONE_WEB_PORT", min=0, max=65535, help="Port to listen on; 0 takes a free one."),
    ] = WEB_PORT,
    examples: Annotated[
        Path | None,
        typer.Option(
            envvar="TRITONE_EXAMPLES", metavar="DIR", help="Folder of example recordings, which visitors can play."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            envvar="TRITONE_WEB_ALLOW_HOST", metavar="NAME", help="Host name by which a proxy calls the page."
        ),
    ] = None,
    quota: Annotated[
        int,
        typer.Option(envvar="TRITONE_WEB_QUOTA", metavar="MB", min=1, help="Disk space for all uploads."),
    ] = WEB_QUOTA_MB,
    timeout: Timeout = TIMEOUT,
) -> None:
    """Serve a web page that takes uploads and recordings.

    Ctrl-C ends it.
    """
    if not find_spec("gradio"):
        raise TritoneError("The page needs Gradio: run pip install 'tritone-client[web]'.")
    from tritone_client.web.app import serve  # takes seconds to import

    found = recordings(examples) if examples else []
    serve(url, host, port, found, timeout, connection, allow_host or [], quota)


def recordings(folder: Path) -> list[Path]:
    """Return the audio files of a folder, by name. Raises `TritoneError` if there are none."""
    if not folder.is_dir():
        raise TritoneError(f"'{folder}' is not a folder: --examples takes a folder of recordings.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise TritoneError(f"There are no recordings in '{folder}': --examples takes a folder of audio files.")
    return found
