"""The common options of the commands, the client that these describe, and their output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tritone_client.defaults import MODEL, TIMEOUT, URL
from tritone_client.plain import json_text, plain

if TYPE_CHECKING:
    from rich.console import Console

    from tritone_client.client import Client

Url = Annotated[
    str,
    typer.Option(
        envvar="TRITONE_URL",
        help="host:port, grpc(s)://... or http(s)://...; without a scheme, port 8000 is HTTP.",
    ),
]
Timeout = Annotated[
    float, typer.Option(envvar="TRITONE_TIMEOUT", min=0.01, help="Seconds for each recording, retries included.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
KeyValues = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        envvar="TRITONE_OPTION",
        metavar="KEY=VALUE",
        help="An option of the server, such as uncertainty=entropy; may be repeated.",
    ),
]

MODEL_FLAGS = ("--system", "--model", "-m")  # the first is the name; the second is that of earlier versions
Model = Annotated[
    str,
    typer.Option(*MODEL_FLAGS, envvar="TRITONE_MODEL", help="The system to ask, for genres or for emotions."),
]
__all__ = ["MODEL", "TIMEOUT", "URL"]  # for the modules of the commands

connection: dict[str, Any] = {}  # the options before the command, for `Client`


def open_client(url: str, timeout: float) -> Client:
    """Return a client for the options."""
    from tritone_client.client import Client

    return Client(url, timeout=timeout, **connection)


def key_values(texts: Sequence[str] | None) -> dict[str, Any]:
    """Return the options of `-o KEY=VALUE`; a value that is not JSON is a text."""
    from tritone_client.transport.request import check_names

    options: dict[str, Any] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"'{text}' must have the form KEY=VALUE.", param_hint="-o")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    check_names(options)
    return options


def bar(questions: Sequence[Any]) -> Iterable[Any]:
    """Iterate over `questions` with a progress bar, if there are several and standard error is a terminal."""
    from rich.console import Console
    from rich.progress import track

    screen = Console(stderr=True)
    hidden = len(questions) == 1 or not screen.is_terminal
    return track(questions, "", console=screen, transient=True, disable=hidden)


def print_json(record: dict[str, Any]) -> None:
    """Print a line of JSON, and flush it: programs read it while the next recording is in flight."""
    print(json_text(record), flush=True)


def output() -> Console:
    """Return a console for tables, as wide as the terminal, or wide in a pipe or file."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    return console


def print_written(*paths: object) -> None:
    """Report the files and folders that were written, one a line on standard error."""
    for path in paths:
        print(f"tritone: wrote {plain(path)}", file=sys.stderr, flush=True)
