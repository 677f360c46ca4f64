"""Rows of a bulk run as a Parquet file, and back."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

from tritone_client.bulk_rows import COLUMNS, Row

GROUP = 10_000  # rows that are in memory at a time

NUMBERS = ("probability", "probability_2", "probability_3", "duration", "seconds")


def schema() -> Any:
    """The columns of a CSV file with their types, then all labels and their probabilities.

    Raises `ImportError` where pyarrow is not installed.
    """
    import pyarrow as pa

    types = dict.fromkeys(NUMBERS, pa.float64()) | {"needs_review": pa.bool_()}
    lists = [("labels", pa.list_(pa.string())), ("probabilities", pa.list_(pa.float32()))]
    return pa.schema([(column, types.get(column, pa.string())) for column in COLUMNS] + lists)


def write(stream: BinaryIO, rows: Iterable[Row]) -> None:
    """Write rows, `GROUP` at a time."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = iter(rows)
    with parquet.ParquetWriter(stream, schema()) as writer:
        while group := list(islice(rows, GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema()))


def read(path: str) -> Iterator[Row]:
    """The rows of a file that `write` wrote. Raises `ValueError` for another."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:  # ArrowInvalid is a ValueError
        if not file.schema_arrow.equals(schema()):
            raise ValueError("other columns")
        for batch in file.iter_batches(GROUP):
            yield from batch.to_pylist()
