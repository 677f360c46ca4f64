"""The recordings of a bulk run that sound most like one: those whose embeddings point the same way."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tritone_client.bulk.embeddings import Batch, read
from tritone_client.errors import InvalidResults


@dataclass(frozen=True)
class Similar:
    """A recording of a bulk run, its label, and the cosine between its embedding and another, from -1 to 1."""

    file: str
    label: str | None
    similarity: float


def nearest(path: str | Path, embedding: npt.ArrayLike, top: int = 10) -> list[Similar]:
    """The rows of a bulk run that are most similar to an embedding, best first; of equals the earlier row.

    The file is read from its beginning to its end, a batch at a time; rows without an embedding are left out.

    Parameters
    ----------
    path : what `tritone bulk --embedding` wrote: .parquet or .jsonl.
    embedding : [values], of the model that made the rows, such as `Prediction.embedding`.
    top : how many rows are wanted.

    Raises
    ------
    InvalidResults
        The file cannot be searched, or not by this embedding.
    """
    path, wanted = str(path), np.asarray(embedding, np.float64)
    if wanted.ndim != 1 or not wanted.any() or not np.isfinite(wanted).all():
        raise InvalidResults(
            f"An embedding must be a list of finite numbers that are not all zero, not {wanted!r:.80}: nothing is "
            "similar to that."
        )
    if top < 1:
        raise InvalidResults(f"One row at least must be wanted, not {top}: choose another `top`.")
    best: list[Similar] = []
    for batch in read(path):
        if (values := batch.embeddings.shape[1]) != len(wanted):
            raise InvalidResults(
                f"'{path}' holds embeddings of {values} values, and this one has {len(wanted)}: ask the model "
                "that made the file."
            )
        best = sorted([*best, *nearest_of(batch, wanted, top)], key=lambda row: -row.similarity)[:top]
    return best


def nearest_of(batch: Batch, wanted: npt.NDArray[np.float64], top: int) -> Iterator[Similar]:
    """The best rows of a batch; those without a direction (zeros, or numbers that are none) are left out."""
    rows = batch.embeddings.astype(np.float64)
    with np.errstate(all="ignore"):
        cosines = rows @ wanted / (np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted))
    order = np.argsort(-cosines, kind="stable")[:top]  # NaN comes last
    for place in order[np.isfinite(cosines[order])]:
        yield Similar(batch.files[place], batch.labels[place], float(np.clip(cosines[place], -1, 1)))
