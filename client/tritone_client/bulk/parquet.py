"""Rows of a bulk run as a Parquet file, and back."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tritone_client.bulk.rows import COLUMNS, Row

GROUP = 10_000  # rows that are written at a time
BATCH = 1000  # rows that are read at a time: as objects of Python they take ten times as much

NUMBERS = ("probability", "probability_2", "probability_3", "duration", "seconds")


def schema(values: int | None = None) -> Any:
    """Return the typed columns of a CSV file, then all labels, their probabilities, and optionally the embedding.

    `values` is the size of an embedding, 0 if no row has one, None for a file without that column. Embeddings
    have a fixed size, which tensors and vector indices need. pyarrow cannot write a null in such a column: a row
    without an embedding has NaN in every place.

    Raises `ImportError` if pyarrow is not installed.
    """
    import pyarrow as pa

    types = dict.fromkeys(NUMBERS, pa.float64()) | {"needs_review": pa.bool_()}
    lists = [("labels", pa.list_(pa.string())), ("probabilities", pa.list_(pa.float32()))]
    if values is not None:
        lists.append(("embedding", pa.list_(pa.float32(), values or 1)))
    return pa.schema([(column, types.get(column, pa.string())) for column in COLUMNS] + lists)


def write(stream: BinaryIO, rows: Iterable[Row], values: int | None) -> None:
    """Write rows, `GROUP` at a time; `values` as for `schema`."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = schema(values)
    if values is not None:
        rows = (row | {"embedding": array_of(row["embedding"], values or 1)} for row in rows)
    rows = iter(rows)
    with parquet.ParquetWriter(stream, columns) as writer:
        while group := list(islice(rows, GROUP)):
            writer.write_table(pa.Table.from_pylist(group, columns))


def array_of(embedding: list[float] | None, values: int) -> npt.NDArray[np.float32]:
    """Return an embedding as an array, of NaN if there is none; a list would take ten times the memory."""
    return np.array([np.nan] * values if embedding is None else embedding, np.float32)


def read(path: str) -> Iterator[Row]:
    """Yield the rows of a file that `write` wrote, None for NaN. Raises `ValueError` for any other file."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:  # ArrowInvalid is a ValueError
        columns = file.schema_arrow
        values = size_of(columns)
        if not columns.equals(schema(values)):
            raise ValueError("other columns")
        for batch in file.iter_batches(BATCH):
            for row in batch.to_pylist():
                if values is not None and np.isnan(row["embedding"]).any():
                    row["embedding"] = None
                yield row


def size_of(columns: Any) -> int | None:
    """Return the values of an embedding in a file with these columns; None without such a column."""
    import pyarrow as pa

    place = columns.get_field_index("embedding")
    kind = columns.field(place).type if place >= 0 else None
    return kind.list_size if kind is not None and pa.types.is_fixed_size_list(kind) else None
