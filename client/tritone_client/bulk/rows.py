"""The rows of a bulk run: their fields, and their bytes in a JSONL or CSV file."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from tritone_client.answer import Answer
from tritone_client.errors import InferenceFailed, TritoneError
from tritone_client.plain import json_text, plain

Outcome = Answer | TritoneError
Row = dict[str, Any]

COLUMNS = (
    *("file", "model", "label", "label_zh", "probability", "label_2", "probability_2", "label_3", "probability_3"),
    *("duration", "needs_review", "notes", "seconds", "error", "cause", "options"),
)
OURS = ("file", "error", "cause", "embedding")  # fields of a row that the server cannot set
# Text that spreadsheets would read as a formula. It gets a `'`, also after existing ones, so that reading can
# remove one.
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
LONGEST = 4 << 20  # bytes of a row; the timeline of ten minutes of speech takes a hundredth


def written(text: str) -> str:
    r"""Return `text` as it is written, with every byte that is not UTF-8 as \udcXX.

    Different names stay different: if a name itself contains "\udcXX", its backslash becomes \udc5c.
    """
    text = re.sub(r"\\(?=udc[0-9a-f]{2})", r"\\udc5c", text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def full_row(file: str, answer: Outcome, model: str, options: Mapping[str, Any]) -> Row:
    """Return everything that the server answered for a file, or the error."""
    asked = {"model": model, "options": dict(options)}
    if isinstance(answer, TritoneError):
        return {"file": written(file), "error": plain(answer), "cause": type(answer).__name__, **asked}
    fields = {name: value for name, value in answer.to_dict().items() if name not in OURS}
    return {"file": written(file), **fields, **asked}


def flat_row(file: str, answer: Outcome, model: str, options: Mapping[str, Any]) -> Row:
    """Return the answer for a file as a row of a table: `COLUMNS`, and all labels with their probabilities."""
    text = written(json.dumps(dict(options), ensure_ascii=False, sort_keys=True))
    row: Row = dict.fromkeys((*COLUMNS, "labels", "probabilities"))
    row |= {"file": written(file), "model": model, "options": text}
    if isinstance(answer, TritoneError):
        return row | {"error": plain(answer), "cause": type(answer).__name__}
    row |= {
        "duration": answer.duration,
        "needs_review": answer.needs_review,
        "notes": plain(" ".join(answer.notes)),
        "seconds": round(answer.seconds, 4),
        "labels": [plain(label) for label in answer.labels],
    }
    row["probabilities"] = answer.probabilities.tolist()
    if answer.best:
        row["label_zh"] = plain(answer.best.label_zh)
    ranked = [(plain(entry.label), entry.probability) for entry in answer.ranking]
    for place, (label, probability) in zip(("", "_2", "_3"), ranked, strict=False):
        row |= {f"label{place}": label, f"probability{place}": probability}
    return row


def embedding_of(answer: Outcome) -> npt.NDArray[np.float32] | None:
    """Return the features of a recording, float32 [values]; None if it failed or is silent, or all are zero.

    Silent recordings are all alike, and a zero vector has no direction to compare.
    """
    if isinstance(answer, TritoneError) or answer.best is None or answer.embedding is None:
        return None
    return answer.embedding if answer.embedding.any() else None


def shortest(values: npt.NDArray[np.float32]) -> list[float]:
    """Return numbers for JSON with the fewest digits that give the same float32, half as many as a float64."""
    return [float(str(value)) for value in values]


def too_long(size: int) -> InferenceFailed:
    """Return the error for an answer that is too long for a row."""
    return InferenceFailed(f"The row of this answer would have {size} bytes, more than the limit of {LONGEST}.")


def escape_formula(cell: Any) -> Any:
    """Return a cell that no spreadsheet reads as a formula; numbers are unchanged."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def unescape_formula(cell: str) -> str:
    """Return the original cell, before `escape_formula`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


class Format(Protocol):
    """A file format of rows."""

    head: bytes  # the beginning of every file
    quoted: bool  # whether a row may contain line breaks in quotes

    def encode(self, row: Row) -> bytes:
        """Return the bytes of a row."""

    def decode(self, record: bytes) -> Row:
        """Return a row from its bytes. Raises `ValueError` if they are not a row."""

    def may_begin(self, record: bytes) -> bool:
        """Return whether this may be the incomplete first row of a killed run, after the head."""


class Jsonl:
    """One JSON object per line."""

    head, quoted = b"", False

    def encode(self, row: Row) -> bytes:
        """Return the bytes of a row."""
        return json_text(row).encode() + b"\n"

    def decode(self, record: bytes) -> Row:
        """Return a row from its bytes. Raises `ValueError` if they are not a row."""
        row = json.loads(record)
        if not (isinstance(row, dict) and {"file", "model", "options"} <= row.keys()):
            raise ValueError("not a row")
        return row

    def may_begin(self, record: bytes) -> bool:
        """Return whether this may be the incomplete first row of a killed run; a power cut may leave zeros."""
        start = b'{"file": "'
        return start.startswith(record) or record.startswith(start) or not record.strip(b"\0")


class Csv:
    """RFC 4180 with a line of column names; numbers and true/false as in JSON, empty for null; no formulas."""

    quoted = True

    def __init__(self) -> None:
        self.head = self._line(COLUMNS)

    def encode(self, row: Row) -> bytes:
        """Return the bytes of a row."""
        cells = (row[column] for column in COLUMNS)
        return self._line([json.dumps(cell) if isinstance(cell, bool) else escape_formula(cell) for cell in cells])

    def decode(self, record: bytes) -> Row:
        """Return a row from its bytes. Raises `ValueError` if they are not a row."""
        try:
            (cells,) = csv.reader(io.StringIO(record.decode(), newline=""), strict=True)
        except csv.Error as error:
            raise ValueError(str(error)) from None
        return dict(zip(COLUMNS, map(unescape_formula, cells), strict=True))

    def may_begin(self, record: bytes) -> bool:
        """Return True: any text may be part of a row."""
        return True

    @staticmethod
    def _line(cells: Any) -> bytes:
        stream = io.StringIO(newline="")
        csv.writer(stream).writerow(cells)
        return stream.getvalue().encode("utf-8", "backslashreplace")


def records(stream: BinaryIO, quoted: bool) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes of each row, and whether it is complete; the last one may not be.

    Raises `ValueError` for a row without an end.
    """
    lines: list[bytes] = []
    size, within = 0, False
    while line := stream.readline(LONGEST):
        lines.append(line)
        size += len(line)
        if size > LONGEST:
            raise ValueError("no end")
        within ^= quoted and line.count(b'"') % 2 == 1
        if not within and line.endswith(b"\n"):
            yield b"".join(lines), True
            lines, size = [], 0
    if lines:
        yield b"".join(lines), False
