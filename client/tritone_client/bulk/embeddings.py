"""Reads the embeddings in a file that `tritone bulk --embedding` wrote, one batch at a time.

A million rows of 200 values are 800 MB; only one batch is in memory.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from tritone_client.bulk.rows import Jsonl, Row, records
from tritone_client.errors import InvalidResults
from tritone_client.transport.request import check_names

BATCH = 4096  # rows that are in memory at a time
COLUMNS = ("file", "label", "model", "options", "embedding")
HOW = "`tritone bulk --embedding --out FILE.parquet` writes a file that can be searched"

Query = tuple[str, str]  # a model, and its options as JSON text, which can be compared


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of a file.

    Attributes
    ----------
    files : the recordings of the rows that have an embedding, as the run wrote their names.
    labels : the most probable label or emotion of each.
    embeddings : float32 [files, values].
    queries : model and options of all rows, also of those without an embedding.
    """

    files: list[str]
    labels: list[str | None]
    embeddings: npt.NDArray[np.float32] = field(repr=False)
    queries: set[Query]


def read(path: str) -> Iterator[Batch]:
    """Yield the rows of a file in batches with at least one embedding, all of one model and its options.

    Raises `InvalidResults` for a file that cannot be searched: missing, of another kind, without embeddings, or
    with embeddings of several models, options or sizes.
    """
    batches = {".parquet": parquet_batches, ".jsonl": jsonl_batches}.get(os.path.splitext(path)[1].lower())
    if not batches:
        raise InvalidResults(f"'{path}' does not end in .parquet or .jsonl: {HOW}.")
    queries: set[Query] = set()
    sizes: set[int] = set()
    try:
        for batch in batches(path):
            queries |= batch.queries
            if len(queries) > 1:
                both = " and of ".join(
                    f"{model} with {options}" for model, options in sorted(queries, key=str)[:2]
                )
                raise InvalidResults(
                    f"'{path}' holds answers of {both}, which cannot be compared: use a file for each."
                )
            if batch.files:
                sizes.add(batch.embeddings.shape[1])
                check_sizes(path, sizes)
                yield batch
    except FileNotFoundError:
        raise InvalidResults(f"'{path}' does not exist: {HOW}.") from None
    except OSError as error:
        raise InvalidResults(f"'{path}' cannot be read ({error.strerror or 'it is damaged'}): {HOW}.") from None
    if not sizes:
        raise InvalidResults(f"'{path}' has no row with an embedding: {HOW}.")


def query_of(path: str) -> tuple[str, dict[str, Any]]:
    """Return the model and the options of all rows of a file. Raises the exceptions of `read`."""
    ((model, text),) = next(read(path)).queries
    try:
        options = json.loads(text)
        check_names(options)
    except (ValueError, TypeError, AttributeError):
        raise foreign(path) from None
    return model, options


def parquet_batches(path: str) -> Iterator[Batch]:
    """Yield the batches of a Parquet file."""
    try:
        import pyarrow as pa
        from pyarrow import compute, parquet
    except ImportError as error:
        raise InvalidResults(
            f"'{path}' needs pyarrow ({error}): run pip install 'tritone-client[parquet]'."
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            check_columns(path, file.schema_arrow.names)
            for rows in file.iter_batches(BATCH, columns=list(COLUMNS)):
                queries = set(zip(rows["model"].to_pylist(), rows["options"].to_pylist(), strict=True))
                kept = rows.filter(rows["embedding"].is_valid())
                firsts = compute.list_element(kept["embedding"], 0)
                # NaN means that there is no embedding.
                kept = kept.filter(compute.invert(compute.is_nan(firsts)))
                sizes = set(compute.list_value_length(kept["embedding"]).to_pylist())
                check_sizes(path, sizes)
                values = kept["embedding"].flatten().to_numpy(zero_copy_only=False).astype(np.float32)
                embeddings = values.reshape(kept.num_rows, *(sizes or {0}))
                yield Batch(kept["file"].to_pylist(), kept["label"].to_pylist(), embeddings, queries)
    except (pa.ArrowException, ValueError):
        raise foreign(path) from None


def jsonl_batches(path: str) -> Iterator[Batch]:
    """Yield the batches of a JSONL file, without a last row that is still being written."""
    with open(path, "rb") as stream:
        complete = (record for record, is_complete in records(stream, quoted=False) if is_complete)
        try:
            while rows := [columns_of(path, Jsonl().decode(record)) for record in islice(complete, BATCH)]:
                kept = [row for row in rows if row["embedding"] is not None]
                check_sizes(path, {len(row["embedding"]) for row in kept})
                embeddings = np.array([row["embedding"] for row in kept], np.float32)
                queries = {(row["model"], row["options"]) for row in rows}
                yield Batch([row["file"] for row in kept], [row["label"] for row in kept], embeddings, queries)
        except (ValueError, TypeError, KeyError):
            raise foreign(path) from None


def columns_of(path: str, row: Row) -> Row:
    """Return the `COLUMNS` of a full row, as in a Parquet file."""
    row = {"label": row.get("emotion"), **row}  # answers about speech have `emotion` instead of `label`
    check_columns(path, row)
    values = row["embedding"]
    return {
        **{column: row[column] for column in COLUMNS},
        "options": json.dumps(row["options"], ensure_ascii=False, sort_keys=True),
        "embedding": None if values is None else np.array(values, np.float32).reshape(len(values)),
    }


def check_columns(path: str, columns: Iterable[str]) -> None:
    """Raise `InvalidResults` unless all of `COLUMNS` exist."""
    missing = set(COLUMNS).difference(columns)
    if missing == {"embedding"}:
        raise InvalidResults(f"'{path}' holds no embeddings: {HOW}.")
    if missing:
        raise foreign(path)


def check_sizes(path: str, sizes: set[int]) -> None:
    """Raise `InvalidResults` for embeddings of several sizes."""
    if len(sizes) > 1:
        listed = " and of ".join(map(str, sorted(sizes)[:2]))
        raise InvalidResults(f"'{path}' holds embeddings of {listed} values, which cannot be compared: {HOW}.")


def foreign(path: str) -> InvalidResults:
    """Return the exception for a file that `tritone bulk` did not write."""
    return InvalidResults(f"'{path}' was not written by `tritone bulk`: {HOW}.")
