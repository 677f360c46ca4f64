"""`tritone bulk`: ask for any number of files, a row for each."""

import asyncio
import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Annotated, NoReturn

import typer

from tritone_client.aio import AsyncClient
from tritone_client.bulk import Bulk, check_options
from tritone_client.bulk_files import Found, LeftOut, find_files
from tritone_client.bulk_progress import Watch, say, summary
from tritone_client.bulk_results import Results, check_out
from tritone_client.cli_options import TIMEOUT, URL, KeyValues, Timeout, Url, connection, key_values
from tritone_client.errors import TritoneError

CANNOT_START, ENDED_EARLY, INTERRUPTED = 2, 3, 130  # exit codes


def bulk(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|LIST|-",
            help="A folder with audio files at any depth, known by their endings; a file with one path a line; or "
            "-, such lines from the standard input as they come.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Where the rows go: .jsonl, .csv or .parquet. Files with a row there are not asked for again.",
        ),
    ],
    url: Url = URL,
    model: Annotated[
        str, typer.Option(envvar="TRITONE_MODEL", help="The system to ask, of genres or of emotions.")
    ] = "vgg19_bn_cqt",
    option: KeyValues = None,
    embedding: Annotated[
        bool,
        typer.Option("--embedding", help="Keep the network's features of each recording, for `tritone similar`."),
    ] = False,
    in_flight: Annotated[
        int, typer.Option(envvar="TRITONE_IN_FLIGHT", min=1, help="Files that the server has at a time.")
    ] = 16,
    timeout: Timeout = TIMEOUT,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Remove the rows that tell of a failure first.")
    ] = False,
    patience: Annotated[
        float,
        typer.Option(
            envvar="TRITONE_PATIENCE",
            min=0,
            help="Seconds that a server may be away, or refuse, before the run ends.",
        ),
    ] = 300.0,
) -> None:
    """Ask for many files, a row for each as it comes; the same command again goes on where it ended.

    Exit code 1 if any row tells of a failure, 2 if nothing was begun, 3 if the run ended early, 130 after Ctrl-C.
    """
    engine: Bulk | None = None
    left_out = LeftOut(out)

    async def run(files: Iterator[Found]) -> None:
        nonlocal engine
        interruptible()
        async with AsyncClient(url, timeout=timeout, retries=0, **connection) as client:  # type: ignore[arg-type]
            method = getattr(client, await client.method(model))
            ask = partial(method, model=model, embedding=embedding, **options)
            await check_options(ask)
            with results, Watch(source, out) as watch:
                engine = Bulk(ask, client.ping, results, in_flight=in_flight, patience=patience, tell=watch.tell)
                await engine.run(files, partial(watch.look, engine))

    try:
        options = {name: value for name, value in key_values(option).items() if value is not None}
        check_out(out, embedding)
        results = Results(out, model, options, embedding=embedding, retry_failed=retry_failed)
        asyncio.run(run(find_files(source, left_out)))
    except TritoneError as error:
        if not engine:
            say(f"tritone: {error}")
            raise typer.Exit(CANNOT_START) from None
        leave(ENDED_EARLY, f"{error} {on_again(results)}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        leave(INTERRUPTED, f"Interrupted. {on_again(results) if engine else 'Nothing was begun.'}")
    assert engine
    say(*summary(engine, results, left_out))
    if results.causes:
        raise typer.Exit(1)


def on_again(results: Results) -> str:
    """What is there, and how it goes on."""
    return f"{results.rows} rows are in '{results.kept}': the same command goes on."


def interruptible() -> None:
    """Have Ctrl-C cancel this task, as Python does by itself from 3.11 on, and SIGTERM as well."""
    task = asyncio.current_task()
    assert task
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def leave(code: int, sentence: str) -> NoReturn:
    """End the process at once: a thread may wait for the standard input, or a file on a share that is away."""
    say(f"tritone: {sentence}")
    os._exit(code)
