"""`tritone stats` and `tritone timing`: a server's counters, and where the time of a recording goes."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tritone_client.cli.options import (
    MODEL,
    TIMEOUT,
    URL,
    Json,
    KeyValues,
    Model,
    Timeout,
    Url,
    bar,
    connection,
    key_values,
    open_client,
    output,
    print_json,
)
from tritone_client.defaults import METRICS_PORT
from tritone_client.errors import ServerUnavailable
from tritone_client.plain import plain

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from tritone_client.monitoring.statistics import Counts, Snapshot


def stats(
    url: Url = URL,
    metrics_url: Annotated[
        str | None,
        typer.Option(
            envvar="TRITONE_METRICS_URL",
            help=f"Address of Triton's metrics; by default port {METRICS_PORT} of the host in --url.",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show what happens now, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two reports of --watch.")] = 2.0,
    timeout: Annotated[
        float, typer.Option(envvar="TRITONE_TIMEOUT", min=0.01, help="Seconds to wait for the metrics.")
    ] = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Report requests, failures, batches, times and cache."""
    from rich.live import Live

    address = metrics_address(url, metrics_url)
    if not watch:
        snapshot = now(address, timeout)
        if as_json:
            print_json(record(snapshot, None))
        else:
            output().print(view(snapshot, None))
        return
    screen = Live(console=output(), auto_refresh=False) if output().is_terminal and not as_json else None
    with suppress(KeyboardInterrupt), screen or nullcontext():
        earlier: Snapshot | None = None
        while True:
            earlier = watched(address, timeout, earlier, screen, as_json)
            time.sleep(every)


def watched(
    url: str, timeout: float, earlier: Snapshot | None, screen: Live | None, as_json: bool
) -> Snapshot | None:
    """Show what has happened since the `earlier` snapshot; return the new one, or None if no server answers."""
    try:
        snapshot = now(url, timeout)
    except ServerUnavailable as error:  # it may come back, with counters that restart
        if screen:
            from rich.text import Text

            screen.update(Text(plain(error), style="red"), refresh=True)
        else:
            print(f"tritone: {plain(error)}", file=sys.stderr, flush=True)
        return None
    if as_json:
        print_json(record(snapshot, earlier))
    elif screen:
        screen.update(view(snapshot, earlier), refresh=True)
    else:
        output().print(view(snapshot, earlier), "")
    return snapshot


def now(url: str, timeout: float) -> Snapshot:
    """Return a snapshot of the metrics."""
    from tritone_client.monitoring import statistics

    headers, authorities = connection.get("headers"), connection.get("root_certificates")
    return statistics.scrape(url, timeout, headers or {}, authorities)


def metrics_address(url: str, metrics_url: str | None) -> str:
    """Return the URL of the metrics: `metrics_url`, or Triton's default port on the server's host."""
    if metrics_url is None:
        from tritone_client.transport.address import parse_url

        host = replace(parse_url(url), port=METRICS_PORT).target
        return f"http://{host}/metrics"
    return metrics_url if "://" in metrics_url else f"http://{metrics_url}"


def view(snapshot: Snapshot, earlier: Snapshot | None) -> RenderableType:
    """Return a snapshot as a table, of what has happened since an earlier one if there is one."""
    from tritone_client.monitoring import statistics, tables

    models, seconds = since(snapshot, earlier)
    return tables.statistics_view(statistics.by_system(models), snapshot, seconds, output().width)


def record(snapshot: Snapshot, earlier: Snapshot | None) -> dict[str, Any]:
    """Return a snapshot as a record for a line of JSON."""
    from tritone_client.monitoring import statistics

    models, seconds = since(snapshot, earlier)
    return {
        "seconds": seconds,
        "systems": [asdict(system) for system in statistics.by_system(models)],
        "machine": asdict(snapshot.machine) if snapshot.machine else None,
        "gpus": [asdict(gpu) for gpu in snapshot.gpus],
    }


def since(snapshot: Snapshot, earlier: Snapshot | None) -> tuple[dict[str, Counts], float | None]:
    """Return the counts since `earlier` and their seconds; for the first snapshot all counts, and None."""
    if earlier is None:
        return snapshot.models, None
    return snapshot.since(earlier), snapshot.at - earlier.at


def timing(
    file: Annotated[str, typer.Argument(help="An audio file.")],
    url: Url = URL,
    model: Model = MODEL,
    repeat: Annotated[
        int, typer.Option(min=1, help="Number of runs, after a warm-up run that is not counted.")
    ] = 5,
    option: KeyValues = None,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Report where the time of one recording goes.

    The stages are those of the whole way, from this program to the network and back. `tritone profile` is another
    name of this command.
    """
    from tritone_client.monitoring import stages, tables

    options = key_values(option)
    with open_client(url, timeout) as client:
        client.retries = 0  # a pause between attempts would count as transport
        measured = stages.measure(client, file, model, options, repeat, progress=bar)
    if as_json:
        print_json({"file": file, **measured.to_dict()})
    else:
        output().print(tables.timing_view(file, measured))
