"""Rows of a bulk run as a Parquet file, and back."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import numpy as np

from tritone_client.bulk_rows import COLUMNS, Row

GROUP = 10_000  # rows that are written at a time
BATCH = 1000  # rows that are read at a time: as objects of Python they take ten times as much

NUMBERS = ("probability", "probability_2", "probability_3", "duration", "seconds")


def schema(embedding: bool = False) -> Any:
    """The columns of a CSV file with their types, then all labels, their probabilities, and maybe the embedding.

    The embedding is a list of any size: no list of a fixed size that may be null can be written to Parquet.

    Raises `ImportError` where pyarrow is not installed.
    """
    import pyarrow as pa

    types = dict.fromkeys(NUMBERS, pa.float64()) | {"needs_review": pa.bool_()}
    lists = [("labels", pa.list_(pa.string())), ("probabilities", pa.list_(pa.float32()))]
    lists += [("embedding", pa.list_(pa.float32()))] * embedding
    return pa.schema([(column, types.get(column, pa.string())) for column in COLUMNS] + lists)


def write(stream: BinaryIO, rows: Iterable[Row], embedding: bool) -> None:
    """Write rows, `GROUP` at a time, with their embeddings or without."""
    import pyarrow as pa
    from pyarrow import parquet

    rows, columns = map(compact, rows), schema(embedding)
    with parquet.ParquetWriter(stream, columns) as writer:
        while group := list(islice(rows, GROUP)):
            writer.write_table(pa.Table.from_pylist(group, columns))


def compact(row: Row) -> Row:
    """A row whose embedding is an array: a list of Python's numbers takes ten times the memory."""
    if row.get("embedding") is None:
        return row
    return row | {"embedding": np.array(row["embedding"], np.float32)}


def read(path: str) -> Iterator[Row]:
    """The rows of a file that `write` wrote. Raises `ValueError` for another."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:  # ArrowInvalid is a ValueError
        if not any(file.schema_arrow.equals(schema(embedding)) for embedding in (False, True)):
            raise ValueError("other columns")
        for batch in file.iter_batches(BATCH):
            yield from batch.to_pylist()
