"""`tritone bulk`: ask for any number of files, a row for each."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tritone_client.cli.options import MODEL, TIMEOUT, URL, KeyValues, Model, Timeout, Url, connection, key_values
from tritone_client.errors import TritoneError

if TYPE_CHECKING:
    from tritone_client.bulk.engine import Bulk
    from tritone_client.bulk.results import Results
    from tritone_client.bulk.sources import Found

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
    model: Model = MODEL,
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
        bool, typer.Option("--retry-failed", help="First remove the rows that report a failure.")
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
    """Label any number of files, and write a row for each.

    Rows are written as they come; the same command again goes on where the last run ended.

    Exit code 1 if any row reports a failure, 2 if nothing was begun, 3 if the run ended early, 130 after Ctrl-C.
    """
    import asyncio

    from tritone_client.aio import AsyncClient
    from tritone_client.bulk.engine import Bulk, check_options
    from tritone_client.bulk.progress import Watch, say, summary
    from tritone_client.bulk.results import Results, check_out
    from tritone_client.bulk.sources import LeftOut, find_files

    engine: Bulk | None = None
    left_out = LeftOut(out)

    async def run(files: Iterator[Found]) -> None:
        nonlocal engine
        interruptible()
        async with AsyncClient(url, timeout=timeout, retries=0, **connection) as client:
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
    import asyncio

    task = asyncio.current_task()
    assert task
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def leave(code: int, sentence: str) -> NoReturn:
    """End the process at once: a thread may wait for the standard input, or a file on a share that is away."""
    from tritone_client.bulk.progress import say

    say(f"tritone: {sentence}")
    os._exit(code)
