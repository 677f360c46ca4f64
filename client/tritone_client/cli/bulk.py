"""`tritone bulk`: label any number of files, with a row for each."""

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
    from tritone_client.bulk.sources import Source

CANNOT_START, ENDED_EARLY, INTERRUPTED = 2, 3, 130  # exit codes


def bulk(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|LIST|-",
            help="A folder, searched at any depth for files with audio extensions; a file with one path per line; "
            "or - to read such lines from standard input as they arrive.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The file for the rows: .jsonl, .csv or .parquet. Recordings that have a row in it are skipped.",
        ),
    ],
    url: Url = URL,
    model: Model = MODEL,
    option: KeyValues = None,
    embedding: Annotated[
        bool,
        typer.Option(
            "--embedding", help="Also write the network's features of each recording, for `tritone similar`."
        ),
    ] = False,
    in_flight: Annotated[
        int, typer.Option(envvar="TRITONE_IN_FLIGHT", min=1, help="Number of files in flight at a time.")
    ] = 16,
    timeout: Timeout = TIMEOUT,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="First remove the rows of failed files, so that these are sent again."
        ),
    ] = False,
    patience: Annotated[
        float,
        typer.Option(
            envvar="TRITONE_PATIENCE",
            min=0,
            help="Seconds to wait for a server that is down or busy, before the run ends.",
        ),
    ] = 300.0,
) -> None:
    """Label any number of files, and write a row for each.

    Rows are written as the answers arrive. Run the same command again to continue a run that ended early.

    Exit code 1 if any row reports a failure, 2 if the run did not begin, 3 if it ended early, 130 after Ctrl-C.
    """
    import asyncio

    from tritone_client.aio import AsyncClient
    from tritone_client.bulk.engine import Bulk, check_options
    from tritone_client.bulk.progress import ProgressDisplay, print_lines, summary
    from tritone_client.bulk.results import Results, check_out
    from tritone_client.bulk.sources import Skipped, find_files

    engine: Bulk | None = None
    skipped = Skipped(out)

    async def run(files: Iterator[Source]) -> None:
        nonlocal engine
        interruptible()
        async with AsyncClient(url, timeout=timeout, retries=0, **connection) as client:
            method = getattr(client, await client.method(model))
            ask = partial(method, model=model, embedding=embedding, **options)
            await check_options(ask)
            with results, ProgressDisplay(source, out) as display:
                engine = Bulk(
                    ask, client.ping, results, in_flight=in_flight, patience=patience, report=display.report
                )
                await engine.run(files, partial(display.refresh, engine))

    try:
        options = {name: value for name, value in key_values(option).items() if value is not None}
        check_out(out, embedding)
        results = Results(out, model, options, embedding=embedding, retry_failed=retry_failed)
        asyncio.run(run(find_files(source, skipped)))
    except TritoneError as error:
        if not engine:
            print_lines(f"tritone: {error}")
            raise typer.Exit(CANNOT_START) from None
        leave(ENDED_EARLY, f"{error} {how_to_continue(results)}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        leave(INTERRUPTED, f"Interrupted. {how_to_continue(results) if engine else 'No file was sent.'}")
    assert engine
    print_lines(*summary(engine, results, skipped))
    if results.causes:
        raise typer.Exit(1)


def how_to_continue(results: Results) -> str:
    """Return the sentence on the rows so far, and on how to continue."""
    return f"{results.rows} rows are in '{results.kept}': run the same command to continue."


def interruptible() -> None:
    """Let Ctrl-C cancel this task, as Python does itself from 3.11 on, and SIGTERM, too."""
    import asyncio

    task = asyncio.current_task()
    assert task
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is default:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def leave(code: int, sentence: str) -> NoReturn:
    """End the process at once: a thread may wait for standard input, or for a file on a dead network share."""
    from tritone_client.bulk.progress import print_lines

    print_lines(f"tritone: {sentence}")
    os._exit(code)
