"""One visitor's question to the server, and what the page shows for it; nothing is kept between two of them."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from tritone_client.aio import AsyncClient
from tritone_client.errors import InvalidRecording, ServerUnavailable, TritoneError
from tritone_client.html import answer_html
from tritone_client.texts import Language
from tritone_client.web.texts import PAGE

ALL_LABELS = 1000  # so that every label comes with its Chinese name


class Uploads:
    """The files that visitors may ask about: what lies in the folder of uploads, and the examples.

    A browser names a file by its path, and could name any: everything else is told to be gone.
    """

    def __init__(self, folder: Path, examples: Sequence[Path]) -> None:
        self.folder, self.examples = folder.resolve(), list(examples)

    def find(self, source: Mapping[str, object]) -> Path | None:
        """The file of `{"example": n}` or `{"path": ...}`; None where there is none."""
        example, path = source.get("example"), source.get("path")
        if isinstance(example, int) and 0 <= example < len(self.examples):
            return self.examples[example]
        if isinstance(path, str) and "\0" not in path:
            found = Path(path).resolve()
            if found.is_relative_to(self.folder) and found.is_file():
                return found
        return None

    def sweep(self, seconds: float) -> None:
        """Delete uploads that have not changed for so long, also those that broke off, and their folders."""
        before, old = time.time() - seconds, []
        for path in sorted(self.folder.rglob("*"), reverse=True):  # a folder comes behind what it holds
            with suppress(OSError):  # Gradio moves an upload when it is complete
                if path.lstat().st_mtime < before:
                    old.append(path)
        for path in old:
            with suppress(OSError):  # a folder that holds a newer file
                path.rmdir() if path.is_dir() else path.unlink()


async def ask(
    client: AsyncClient, data: bytes, system: str, method: str, options: dict, language: Language
) -> str:
    """The answer to a recording as HTML. Raises `TritoneError`."""
    remarks = []
    if method == "emotion":
        answer = await client.emotion(data, model=system, granularity="frame", **options)
    else:
        options["top_k"] = ALL_LABELS
        try:
            answer = await client.classify(data, model=system, **options)
        except InvalidRecording as error:
            if "explain needs the network" not in str(error):
                raise
            answer = await client.classify(data, model=system, **options | {"explain": None})
            remarks.append(PAGE[language]["not_explained"])
    return answer_html(answer, language, remarks)


async def read(path: Path) -> bytes | None:
    """A file's content, read in a thread; None where it has been deleted."""
    try:
        return await asyncio.to_thread(path.read_bytes)
    except OSError:
        return None


def problem(title: str, sentence: str, cause: str = "") -> str:
    """A sentence instead of an answer."""
    return (
        f'<div class="t-problem" role="alert" data-cause="{escape(cause)}">'
        f"<b>{escape(title)}</b><p>{escape(sentence)}</p></div>"
    )


def failed(error: TritoneError, language: Language) -> str:
    """What the page shows for an error: what it means in the visitor's language, and the sentence as it came."""
    words, cause = PAGE[language], type(error).__name__
    away = f" {words['away']}" if isinstance(error, ServerUnavailable) else ""
    return problem(words.get(cause, cause), f"{error}{away}", cause)
