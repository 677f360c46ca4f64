"""The command `tritone`: classify recordings, list the served systems, ask for the server's health."""

import json
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import track

from tritone_client import report
from tritone_client.client import Client
from tritone_client.errors import TritoneError
from tritone_client.prediction import Prediction

AT_ONCE = 4  # recordings in flight: enough to fill a batch, and no load to speak of on the server's queue

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audio classifiers on a Triton server: labels for recordings.",
    epilog="Each option can be set by the environment variable in its line.",
)

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
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

Answer = TypeVar("Answer")

URL, TIMEOUT = "127.0.0.1:8001", 30.0

connection: dict[str, object] = {}  # the options before the command, for `Client`


@app.callback()
def connect(
    root_certificates: Annotated[
        str | None, typer.Option(envvar="TRITONE_ROOT_CERTIFICATES", help="PEM file of the authorities to trust.")
    ] = None,
    certificate: Annotated[
        str | None, typer.Option(envvar="TRITONE_CERTIFICATE", help="PEM file with this client's certificate.")
    ] = None,
    private_key: Annotated[
        str | None, typer.Option(envvar="TRITONE_PRIVATE_KEY", help="PEM file with the key of --certificate.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(envvar="TRITONE_HEADER", help="'name:value' to send with each request; may be repeated."),
    ] = None,
) -> None:
    """Encrypted or authorized connections: these options stand before the command."""
    for text in header or []:
        if ":" not in text:
            raise typer.BadParameter(f"'{text}' is not of the form name:value.", param_hint="--header")
    headers = {name.strip(): value.strip() for name, value in (text.split(":", 1) for text in header or [])}
    connection.update(
        root_certificates=root_certificates, certificate=certificate, private_key=private_key, headers=headers
    )


@app.command()
def classify(
    files: Annotated[list[str], typer.Argument(help="Audio files; - reads one from the standard input.")],
    url: Url = URL,
    model: Annotated[str, typer.Option(envvar="TRITONE_MODEL", help="The system to ask.")] = "vgg19_bn_cqt",
    top_k: Annotated[int, typer.Option(envvar="TRITONE_TOP_K", min=1, help="How many labels to rank.")] = 5,
    profile: Annotated[
        str | None, typer.Option(envvar="TRITONE_PROFILE", help="Preprocessing, where not the system's own.")
    ] = None,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Print what recordings are. Exit code 1 if any of them failed."""

    def ask(file: str) -> Prediction | TritoneError:
        try:
            return client.classify(stdin if file == "-" else file, model=model, top_k=top_k, profile=profile)
        except TritoneError as error:
            return error

    stdin = sys.stdin.buffer.read() if "-" in files else b""
    answers: list[tuple[str, Prediction | TritoneError]] = []
    # Closed, so that an interruption ends the calls wherever it strikes.
    with open_client(url, timeout) as client, closing(in_order(client, ask, files)) as found:
        client.ping()  # a server that is not there is told at once, not after a timeout for each file
        for file, answer in zip(files, found, strict=True):
            answers.append((file, answer))
            if as_json:
                print(json.dumps(report.record(file, answer), ensure_ascii=False), flush=True)
    if not as_json:
        report.print_predictions(output(), answers)
    if any(isinstance(answer, TritoneError) for _, answer in answers):
        raise typer.Exit(1)


@app.command()
def models(url: Url = URL, timeout: Timeout = TIMEOUT, as_json: Json = False) -> None:
    """List the systems that the server has."""
    with open_client(url, timeout) as client:
        served = client.models()
    if as_json:
        for system in served:
            print(json.dumps(asdict(system)))
    else:
        report.print_systems(output(), served)


@app.command()
def health(url: Url = URL, timeout: Timeout = TIMEOUT, as_json: Json = False) -> None:
    """Say whether the server and its systems are ready. Exit code 1 if not."""
    with open_client(url, timeout) as client:
        state = client.health()
    if as_json:
        print(json.dumps(asdict(state)))
    else:
        report.print_health(output(), state, str(client.address))
    if not (state.ready and all(state.systems.values())):
        raise typer.Exit(1)


def open_client(url: str, timeout: float) -> Client:
    """The client that the options ask for."""
    return Client(url, timeout=timeout, **connection)  # type: ignore[arg-type]


def in_order(client: Client, ask: Callable[[str], Answer], files: list[str]) -> Generator[Answer, None, None]:
    """`ask` of each file, a few at a time, the answers in the files' order, with a progress bar for people."""
    pool = ThreadPoolExecutor(AT_ONCE)
    screen = Console(stderr=True)
    hidden = len(files) == 1 or not screen.is_terminal
    try:
        yield from track(pool.map(ask, files), "", len(files), console=screen, transient=True, disable=hidden)
    except BaseException:
        client.close()  # ends the calls in flight, so that an interruption does not wait for them
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def output() -> Console:
    """Where tables go: the terminal's width there, wide lines in a pipe or file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    return console


def main() -> None:
    """Run the command; an error is one line on the standard error."""
    try:
        app()
    except TritoneError as error:
        print(f"tritone: {error}", file=sys.stderr)
        sys.exit(1)
