"""Finds the recordings of a bulk run that are most similar to another one, by their embeddings."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tritone_client.bulk.embeddings import Batch, read
from tritone_client.errors import InvalidResults


@dataclass(frozen=True)
class Similar:
    """A recording of a bulk run, its label, and the cosine similarity of its embedding, from -1 to 1."""

    file: str
    label: str | None
    similarity: float


def nearest(path: str | Path, embedding: npt.ArrayLike, top: int = 10) -> list[Similar]:
    """Return the rows of a bulk run that are most similar to an embedding, best first, ties in the file's order.

    The whole file is read, one batch at a time; rows without an embedding are skipped.

    Parameters
    ----------
    path : a file that `tritone bulk --embedding` wrote: .parquet or .jsonl.
    embedding : [values], of the model that the run used, such as `Prediction.embedding`.
    top : number of rows to return.

    Raises
    ------
    InvalidResults
        The file cannot be searched, or not by this embedding.
    """
    path, wanted = str(path), np.asarray(embedding, np.float64)
    if wanted.ndim != 1 or not wanted.any() or not np.isfinite(wanted).all():
        raise InvalidResults(
            f"An embedding must be a list of finite numbers that are not all zero, not {wanted!r:.80}."
        )
    if top < 1:
        raise InvalidResults(f"`top` must be at least 1, not {top}.")
    best: list[Similar] = []
    for batch in read(path):
        if (values := batch.embeddings.shape[1]) != len(wanted):
            raise InvalidResults(
                f"'{path}' holds embeddings of {values} values, but this one has {len(wanted)}: use the model "
                "of that run."
            )
        best = sorted([*best, *nearest_of(batch, wanted, top)], key=lambda row: -row.similarity)[:top]
    return best


def nearest_of(batch: Batch, wanted: npt.NDArray[np.float64], top: int) -> Iterator[Similar]:
    """Yield the best rows of a batch, without those that have no direction (zeros, NaN or infinite numbers)."""
    rows = batch.embeddings.astype(np.float64)
    with np.errstate(all="ignore"):
        cosines = rows @ wanted / (np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted))
    order = np.argsort(-cosines, kind="stable")[:top]  # NaN comes last
    for place in order[np.isfinite(cosines[order])]:
        yield Similar(batch.files[place], batch.labels[place], float(np.clip(cosines[place], -1, 1)))
