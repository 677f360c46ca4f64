"""The rows of a bulk run on disk: exactly one per file, however the run ends.

Each row is appended by one write, and reaches the disk within a second (`sync`). A killed run may leave an
incomplete last row, which the next run cuts off. All other changes (removing failed rows, writing Parquet) go to
`<file>.new`, which is renamed when it is complete. The rows of a Parquet file are kept in `<file>.journal` until
the run ends. `<file>.lock` keeps a second run out; the lock of a killed run does not.
"""

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import suppress
from hashlib import blake2b
from typing import Any, BinaryIO

from tritone_client.bulk import parquet
from tritone_client.bulk.rows import (
    LONGEST,
    Csv,
    Format,
    Jsonl,
    Outcome,
    Row,
    embedding_of,
    flat_row,
    full_row,
    records,
    shortest,
    too_long,
    written,
)
from tritone_client.errors import OutputFailed
from tritone_client.files import replacing, sync_folder, writing

SUFFIXES = (".jsonl", ".csv", ".parquet")


def check_out(out: str, embedding: bool = False) -> None:
    """Raise `OutputFailed` unless rows, with embeddings or without, can be written to `out`. Creates nothing."""
    path = os.path.realpath(out)
    folder = os.path.dirname(path)
    if not path.lower().endswith(SUFFIXES):
        raise OutputFailed(f"'{out}' must end in one of {', '.join(SUFFIXES)}: the extension is the format.")
    if embedding and path.lower().endswith(".csv"):
        raise OutputFailed(f"'{out}' cannot hold embeddings: use a .parquet or .jsonl file.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OutputFailed(f"'{out}' is not a regular file: name a file that can be written.")
    if not os.path.isdir(folder):
        raise OutputFailed(f"'{out}' cannot be written: there is no folder '{folder}', create it first.")
    if not os.access(folder, os.W_OK | os.X_OK) or (os.path.exists(path) and not os.access(path, os.W_OK)):
        raise OutputFailed(f"'{out}' cannot be written: {os.strerror(errno.EACCES)}.")
    if path.lower().endswith(".parquet"):
        try:
            parquet.schema()
        except ImportError as error:
            raise OutputFailed(
                f"'{out}' needs pyarrow ({error}): run pip install 'tritone-client[parquet]'."
            ) from None


class Results:
    """The rows in `out`, also those of earlier runs; a context manager, in which rows are added.

    For each file with a row it keeps 16 bytes in memory, which take about 100 in Python.

    Attributes
    ----------
    rows : number of rows.
    causes : cause of a failure -> number of rows with it.

    With `embedding` each row has its recording's embedding, or None (not for CSV).

    Entering raises `OutputFailed` if the file has rows of another model or of other options, if only the old or
    only the new rows have embeddings, if the file holds something else, and while another run writes to it.
    """

    def __init__(
        self,
        out: str,
        model: str,
        options: Mapping[str, Any],
        *,
        embedding: bool = False,
        retry_failed: bool = False,
    ) -> None:
        self.out, self.rows, self.causes = out, 0, Counter[str]()
        self._model, self._options, self._retry_failed = model, dict(options), retry_failed
        self._embedding, self._values = embedding, 0  # size of an embedding, once it is known
        self._target = os.path.realpath(out)
        suffix = os.path.splitext(self._target)[1].lower()
        self._parquet = suffix == ".parquet"
        self._path = self._target + ".journal" * self._parquet
        self._format: Format = Csv() if suffix == ".csv" else Jsonl()
        self._row = full_row if suffix == ".jsonl" else flat_row
        self._seen: set[bytes] = set()
        self._size, self._dirty = 0, False

    @property
    def kept(self) -> str:
        """The file in which the rows are kept."""
        return self.out + ".journal" * (self._parquet and os.path.exists(self._path))

    def __enter__(self) -> "Results":
        with writing(self.out):
            self._lock = lock(self._target + ".lock", self.out)
        try:
            with writing(self.out):
                self._open()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            try:
                self.sync()
            finally:
                os.close(self._file)
            if self._parquet and kind is None:
                with writing(self.out):
                    self._replace(self._target, self._pack)
                    os.unlink(self._path)
        finally:
            self._unlock()

    def claim(self, file: str) -> bool:
        """Return whether a file must be sent: it has no row and was not claimed before."""
        digest = digest_of(written(file))
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True

    def add(self, file: str, answer: Outcome) -> None:
        """Append the row of a file. Raises `OutputFailed`, leaving no part of the row in the file."""
        row = self._row_of(file, answer)
        record = self._format.encode(row)
        if len(record) > LONGEST:  # no run could read it again
            row = self._row_of(file, too_long(len(record)))
            record = self._format.encode(row)
        with writing(self.out):
            self._append(record)
        self._count(row)

    def sync(self) -> None:
        """Flush the rows so far to disk; another thread may add rows meanwhile. Raises `OutputFailed`."""
        if self._dirty:
            self._dirty = False
            with writing(self.out):
                os.fsync(self._file)

    def _row_of(self, file: str, answer: Outcome) -> Row:
        """Return the row of a file. Raises `OutputFailed` if its embedding has another size than the others."""
        row = self._row(file, answer, self._model, self._options)
        if not self._embedding:
            return row
        values = embedding_of(answer)
        if values is None:
            return row | {"embedding": None}
        if not self._fits(values):
            raise OutputFailed(
                f"'{self.kept}' holds embeddings of {self._values} values, but those of '{self._model}' now have "
                f"{len(values)}: use another file."
            )
        return row | {"embedding": shortest(values)}

    def _fits(self, values: Sized | None) -> bool:
        """Return whether an embedding has as many values as the first one; None always fits."""
        size = 0 if values is None else len(values)
        self._values = self._values or size
        return size in (0, self._values)

    def _open(self) -> None:
        if self._parquet and os.path.exists(self._target) and not os.path.exists(self._path):
            self._replace(self._path, self._unpack)
        if os.path.exists(self._path):
            for record, row in self._read():
                self._seen.add(digest_of(row["file"]))
                self._count(row)
                self._size += len(record)
            if self._retry_failed and self.causes:
                self._replace(self._path, self._without_failed)
            else:
                os.truncate(self._path, self._size)  # cut off an incomplete row
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        sync_folder(self._path)
        if not self._size:
            self._append(self._format.head)

    def _append(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            with suppress(OSError):
                os.truncate(self._file, self._size)
            raise
        self._size += len(data)
        self._dirty = True

    def _count(self, row: Row) -> None:
        self.rows += 1
        if row.get("cause"):
            self.causes[row["cause"]] += 1

    def _read(self) -> Iterator[tuple[bytes, Row]]:
        """Yield the complete rows with their bytes; those of the first include the file's head."""
        head, number = self._format.head, 0
        with open(self._path, "rb") as stream:
            begin = stream.read(len(head))
            if not head.startswith(begin):
                raise self._foreign("the first line")
            if len(begin) < len(head):  # a new file, or one whose run was killed at once
                return
            try:
                for number, (record, is_complete) in enumerate(records(stream, self._format.quoted), 1):
                    if not is_complete:
                        if number == 1 and not self._format.may_begin(record):
                            raise ValueError("not written by a run")
                        return
                    row = self._format.decode(record)
                    self._check(row)
                    yield head * (number == 1) + record, row
            except (ValueError, TypeError):
                raise self._foreign(f"row {number}") from None

    def _check(self, row: Row) -> None:
        """Raise `OutputFailed` for a row of another model, of other options, or with or without an embedding."""
        options = row["options"] if isinstance(row["options"], dict) else json.loads(row["options"])
        if (row["model"], options) != (self._model, self._options):
            there, asked = (
                f"{model} with {json.dumps(given, ensure_ascii=False) if given else 'no options'}"
                for model, given in ((row["model"], options), (self._model, self._options))
            )
            raise OutputFailed(f"'{self.kept}' holds answers of {there}, not of {asked}: use another file.")
        if ("embedding" in row) != self._embedding:
            kind, change = ("without", "leave out") if self._embedding else ("with", "add")
            raise OutputFailed(
                f"'{self.kept}' holds answers {kind} embeddings: {change} --embedding, or use another file."
            )
        if not self._fits(row.get("embedding")):
            raise ValueError("an embedding of another size")

    def _foreign(self, where: str) -> OutputFailed:
        return OutputFailed(
            f"'{self.kept}' cannot be continued: {where} was not written by `tritone bulk`; "
            "repair it, or use another file."
        )

    def _without_failed(self, stream: BinaryIO) -> None:
        stream.write(self._format.head)
        for record, row in self._read():
            if row.get("cause"):
                self._seen.discard(digest_of(row["file"]))
            else:
                stream.write(record.removeprefix(self._format.head))
        self._size = stream.tell()
        self.rows -= self.causes.total()
        self.causes.clear()

    def _pack(self, stream: BinaryIO) -> None:
        parquet.write(stream, (row for _, row in self._read()), self._values if self._embedding else None)

    def _unpack(self, stream: BinaryIO) -> None:
        try:
            for row in parquet.read(self._target):
                self._check(row)
                stream.write(self._format.encode(row))
        except ValueError:
            raise OutputFailed(
                f"'{self.out}' is not a Parquet file of `tritone bulk`: use another file."
            ) from None

    def _replace(self, path: str, write: Callable[[BinaryIO], None]) -> None:
        """Write a file, and let it replace `path` when it is complete and on disk."""
        # The fixed name overwrites what a killed run left. Permissions are copied: the rows may be private.
        with replacing(path, temporary=path + ".new", like=self._target) as stream:
            write(stream)

    def _unlock(self) -> None:
        with suppress(OSError):
            os.unlink(self._target + ".lock")
        os.close(self._lock)


def digest_of(name: str) -> bytes:
    """Return 16 bytes that identify a file's name, as it is written."""
    return blake2b(name.encode(), digest_size=16).digest()


def lock(path: str, out: str) -> int:
    """Return the descriptor of a locked file; the lock ends with the process. Raises `OutputFailed`."""
    import fcntl  # not on Windows, where the other commands work

    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):  # unlinked by a run that has just ended
                if os.path.samestat(os.fstat(file), os.stat(path)):
                    return file
        except BlockingIOError:
            os.close(file)
            raise OutputFailed(
                f"Another run is writing to '{out}': wait for its end, or use another file."
            ) from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)
