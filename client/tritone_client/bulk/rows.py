"""What a bulk run says of a file: as a row, and as the bytes of a row in a JSONL or a CSV file."""

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
OURS = ("file", "error", "cause", "embedding")  # of a row, whatever a server says
# What spreadsheets take for a formula. It gets a `'`, also behind others, so that one can be taken off again.
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
LONGEST = 4 << 20  # bytes of a row; the timeline of ten minutes of speech takes a hundredth


def written(text: str) -> str:
    r"""`text` as it is written, with every byte that is no UTF-8 as \udcXX.

    No two names are written alike: where a name has such letters of its own, their backslash is \udc5c.
    """
    text = re.sub(r"\\(?=udc[0-9a-f]{2})", r"\\udc5c", text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def full_row(file: str, answer: Outcome, model: str, options: Mapping[str, Any]) -> Row:
    """All that the server said of a file, or why it said nothing."""
    asked = {"model": model, "options": dict(options)}
    if isinstance(answer, TritoneError):
        return {"file": written(file), "error": plain(answer), "cause": type(answer).__name__, **asked}
    said = {name: value for name, value in answer.to_dict().items() if name not in OURS}
    return {"file": written(file), **said, **asked}


def flat_row(file: str, answer: Outcome, model: str, options: Mapping[str, Any]) -> Row:
    """The same as a row of a table: `COLUMNS`, and all labels with their probabilities."""
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
    """The features of a recording, float32 [values]; None where it failed, is silent, or they are all zero.

    All silent recordings are alike, and zeros have no direction: there is nothing to compare by.
    """
    if isinstance(answer, TritoneError) or answer.best is None or answer.embedding is None:
        return None
    return answer.embedding if answer.embedding.any() else None


def shortest(values: npt.NDArray[np.float32]) -> list[float]:
    """Numbers for JSON, each with the fewest digits that mean the same float32: half as many as of a float."""
    return [float(str(value)) for value in values]


def too_long(size: int) -> InferenceFailed:
    """What a row says in the place of an answer that no row can hold."""
    return InferenceFailed(f"The answer would be a row of {size} bytes, more than the {LONGEST} of any row.")


def defused(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers stay as they are."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def as_it_was(cell: str) -> str:
    """A cell before it was `defused`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


class Format(Protocol):
    """How rows are told from each other in a file."""

    head: bytes  # what a file begins with
    quoted: bool  # whether a line end within quotes is no end of a row

    def encode(self, row: Row) -> bytes:
        """A row as it is appended."""

    def decode(self, record: bytes) -> Row:
        """A row from its bytes. Raises `ValueError` for what is none."""

    def may_begin(self, record: bytes) -> bool:
        """Whether this may be the beginning of a row, behind the head, that a killed run left."""


class Jsonl:
    """A JSON object a line."""

    head, quoted = b"", False

    def encode(self, row: Row) -> bytes:
        """A row as it is appended."""
        return json_text(row).encode() + b"\n"

    def decode(self, record: bytes) -> Row:
        """A row from its bytes. Raises `ValueError` for what is none."""
        row = json.loads(record)
        if not (isinstance(row, dict) and {"file", "model", "options"} <= row.keys()):
            raise ValueError("no row")
        return row

    def may_begin(self, record: bytes) -> bool:
        """Whether this may be the beginning of a row that a killed run left; zeros are what a power cut leaves."""
        start = b'{"file": "'
        return start.startswith(record) or record.startswith(start) or not record.strip(b"\0")


class Csv:
    """RFC 4180, the columns' names first; numbers and true/false as in JSON, nothing for nothing; no formulas."""

    quoted = True

    def __init__(self) -> None:
        self.head = self._line(COLUMNS)

    def encode(self, row: Row) -> bytes:
        """A row as it is appended."""
        cells = (row[column] for column in COLUMNS)
        return self._line([json.dumps(cell) if isinstance(cell, bool) else defused(cell) for cell in cells])

    def decode(self, record: bytes) -> Row:
        """A row from its bytes. Raises `ValueError` for what is none."""
        try:
            (cells,) = csv.reader(io.StringIO(record.decode(), newline=""), strict=True)
        except csv.Error as error:
            raise ValueError(str(error)) from None
        return dict(zip(COLUMNS, map(as_it_was, cells), strict=True))

    def may_begin(self, record: bytes) -> bool:
        """Any text may, behind the columns' names."""
        return True

    @staticmethod
    def _line(cells: Any) -> bytes:
        stream = io.StringIO(newline="")
        csv.writer(stream).writerow(cells)
        return stream.getvalue().encode("utf-8", "backslashreplace")


def records(stream: BinaryIO, quoted: bool) -> Iterator[tuple[bytes, bool]]:
    """The bytes of each row, and whether they are all there; the last one may be torn.

    Raises `ValueError` for a row that has no end.
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
