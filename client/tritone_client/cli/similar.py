"""`tritone similar`: the recordings of a bulk run that are most similar to a song."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tritone_client.cli.options import TIMEOUT, URL, Json, Timeout, Url, open_client, output, print_json
from tritone_client.errors import InvalidRecording

if TYPE_CHECKING:
    from rich.console import Console

    from tritone_client.bulk.similar import Similar


def similar(
    song: Annotated[str, typer.Argument(help="An audio file, which need not be in the run.")],
    results: Annotated[
        str,
        typer.Option("--in", metavar="FILE", help="A file of `tritone bulk --embedding`: .parquet or .jsonl."),
    ],
    top: Annotated[int, typer.Option(min=1, help="Number of recordings to list.")] = 10,
    url: Url = URL,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """List the recordings of a bulk run most like a song.

    If the song is in the file, it is listed, too.

    The server computes the song's embedding with the model and the options of the run; similarity is the cosine of
    the angle between two embeddings, 1 for identical ones.
    """
    from tritone_client.bulk.embeddings import query_of
    from tritone_client.bulk.rows import embedding_of
    from tritone_client.bulk.similar import nearest

    model, options = query_of(results)
    with open_client(url, timeout) as client:
        ask = getattr(client, client.method(model))
        answer = ask(song, model=model, embedding=True, **options)
    embedding = embedding_of(answer)
    if embedding is None:
        raise InvalidRecording(f"'{song}' is silent, so nothing is similar to it: use another recording.")
    found = nearest(results, embedding, top)
    if as_json:
        for rank, row in enumerate(found, 1):
            print_json({"rank": rank, **asdict(row)})
    else:
        print_similar(output(), found, answer.notes)


def print_similar(console: Console, found: list[Similar], notes: tuple[str, ...]) -> None:
    """Print a row for each recording, then the notes of the song's answer."""
    from rich.table import Table

    from tritone_client.display.tables import marked

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rank", justify="right")
    table.add_column("similarity", justify="right")
    table.add_column("file", overflow="fold")
    table.add_column("label")
    for rank, row in enumerate(found, 1):
        table.add_row(str(rank), f"{row.similarity:.4f}", marked(row.file), marked(row.label or ""))
    console.print(table)
    for note in notes:
        console.print(f"[yellow]Note:[/] {marked(note)}")
