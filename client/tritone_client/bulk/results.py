"""The rows of a bulk run on disk: every file there once, whatever ends the run.

A row is appended as it comes, by one write, and reaches the disk within a second (`sync`). A run that is killed
leaves its last row torn at worst, and the next run cuts that off. What else changes a file (failed rows removed,
Parquet) is written to `<file>.new` and renamed when it is complete. Rows of a Parquet file are kept in
`<file>.journal` until all are there. `<file>.lock` keeps a second run away; that of a killed run does not.
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
    """Raise `OutputFailed` unless rows, maybe with embeddings, can be written to `out`. Nothing is made."""
    path = os.path.realpath(out)
    folder = os.path.dirname(path)
    if not path.lower().endswith(SUFFIXES):
        raise OutputFailed(f"'{out}' ends in none of {', '.join(SUFFIXES)}: name it by what it shall be.")
    if embedding and path.lower().endswith(".csv"):
        raise OutputFailed(f"'{out}' has no room for embeddings: end its name in .parquet or .jsonl.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OutputFailed(f"'{out}' is no regular file: name one that can be written.")
    if not os.path.isdir(folder):
        raise OutputFailed(f"'{out}' cannot be written: there is no folder '{folder}', make it first.")
    if not os.access(folder, os.W_OK | os.X_OK) or (os.path.exists(path) and not os.access(path, os.W_OK)):
        raise OutputFailed(f"'{out}' cannot be written: {os.strerror(errno.EACCES)}.")
    if path.lower().endswith(".parquet"):
        try:
            parquet.schema()
        except ImportError as error:
            raise OutputFailed(
                f"'{out}' needs pyarrow ({error}): pip install 'tritone-client[parquet]'."
            ) from None


class Results:
    """The rows in `out`, those of earlier runs too; a context manager, within which rows are added.

    Of each file that has a row 16 bytes are kept in memory, which take Python about 100.

    Attributes
    ----------
    rows : how many there are.
    causes : how many of them tell of a failure, by its cause.

    With `embedding` each row has its recording's embedding, None where there is none (not for CSV).

    Entering raises `OutputFailed` for rows of another model, of other options, or where only these or only those
    are asked for embeddings; for a file that holds something else; and while another run writes to it.
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
        self._embedding, self._values = embedding, 0  # how many values an embedding has, once that is known
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
        """Where the rows are."""
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
        """Whether a file is to be asked: it has no row and was not claimed before."""
        digest = digest_of(written(file))
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True

    def add(self, file: str, answer: Outcome) -> None:
        """Append the row of a file. Raises `OutputFailed`, with no part of the row in the file."""
        row = self._row_of(file, answer)
        record = self._format.encode(row)
        if len(record) > LONGEST:  # which no run could read again
            row = self._row_of(file, too_long(len(record)))
            record = self._format.encode(row)
        with writing(self.out):
            self._append(record)
        self._count(row)

    def sync(self) -> None:
        """Bring the rows so far to the disk; another thread may add meanwhile. Raises `OutputFailed`."""
        if self._dirty:
            self._dirty = False
            with writing(self.out):
                os.fsync(self._file)

    def _row_of(self, file: str, answer: Outcome) -> Row:
        """The row of a file. Raises `OutputFailed` for an embedding of another size than the others."""
        row = self._row(file, answer, self._model, self._options)
        if not self._embedding:
            return row
        values = embedding_of(answer)
        if values is None:
            return row | {"embedding": None}
        if not self._fits(values):
            raise OutputFailed(
                f"'{self.kept}' holds embeddings of {self._values} values, and those of '{self._model}' have "
                f"{len(values)} now: name another file for these."
            )
        return row | {"embedding": shortest(values)}

    def _fits(self, values: Sized | None) -> bool:
        """Whether an embedding has as many values as the first that this was asked of; None always does."""
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
                os.truncate(self._path, self._size)  # what was torn
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
        """The whole rows with their bytes, the file's head with those of the first."""
        head, number = self._format.head, 0
        with open(self._path, "rb") as stream:
            begin = stream.read(len(head))
            if not head.startswith(begin):
                raise self._foreign("the first line")
            if len(begin) < len(head):  # a new file, or one whose run was killed at once
                return
            try:
                for number, (record, is_whole) in enumerate(records(stream, self._format.quoted), 1):
                    if not is_whole:
                        if number == 1 and not self._format.may_begin(record):
                            raise ValueError("nothing that a run wrote")
                        return
                    row = self._format.decode(record)
                    self._check(row)
                    yield head * (number == 1) + record, row
            except (ValueError, TypeError):
                raise self._foreign(f"row {number}") from None

    def _check(self, row: Row) -> None:
        """Raise `OutputFailed` for a row that another question was asked for."""
        options = row["options"] if isinstance(row["options"], dict) else json.loads(row["options"])
        if (row["model"], options) != (self._model, self._options):
            there, asked = (
                f"{model} with {json.dumps(given, ensure_ascii=False) if given else 'no options'}"
                for model, given in ((row["model"], options), (self._model, self._options))
            )
            raise OutputFailed(
                f"'{self.kept}' holds answers of {there}, not of {asked}: name another file for these."
            )
        if ("embedding" in row) != self._embedding:
            kind, change = ("without", "leave out") if self._embedding else ("with", "add")
            raise OutputFailed(
                f"'{self.kept}' holds answers {kind} embeddings: {change} --embedding, or name another file."
            )
        if not self._fits(row.get("embedding")):
            raise ValueError("an embedding of another size")

    def _foreign(self, where: str) -> OutputFailed:
        return OutputFailed(
            f"'{self.kept}' cannot be gone on with: {where} is none that `tritone bulk` wrote; "
            "mend it, or name another file."
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
            raise OutputFailed(f"'{self.out}' is no Parquet file of `tritone bulk`: name another file.") from None

    def _replace(self, path: str, write: Callable[[BinaryIO], None]) -> None:
        """Write a file, and put it into the place of `path` when it is complete and on the disk."""
        # A fixed name: what a killed run left is overwritten. Permissions: the rows may be for one user alone.
        with replacing(path, temporary=path + ".new", like=self._target) as stream:
            write(stream)

    def _unlock(self) -> None:
        with suppress(OSError):
            os.unlink(self._target + ".lock")
        os.close(self._lock)


def digest_of(name: str) -> bytes:
    """16 bytes that stand for a file's name, as it is written."""
    return blake2b(name.encode(), digest_size=16).digest()


def lock(path: str, out: str) -> int:
    """The descriptor of a locked file, which is free again when the process ends. Raises `OutputFailed`."""
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
            raise OutputFailed(f"Another run writes to '{out}': wait for its end, or name another file.") from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)
