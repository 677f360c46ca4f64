"""Users' files: the extensions of recordings, and how results are written so that no file is ever incomplete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from tritone_client.errors import OutputFailed

SUFFIXES = (
    *(".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".asf", ".au", ".caf", ".eac3", ".flac"),
    *(".m4a", ".m4b", ".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpga", ".nist", ".oga"),
    *(".ogg", ".opus", ".rf64", ".snd", ".sph", ".spx", ".voc", ".w64", ".wav", ".wave", ".weba", ".webm", ".wma"),
    ".wmv",
)
"""Extensions of recordings, in lower case."""


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Raise `OutputFailed` if the operating system refuses to write `path`."""
    try:
        yield
    except OSError as error:
        raise OutputFailed(f"'{path}' cannot be written: {error.strerror or error}.") from None


@contextmanager
def replacing(
    path: str | Path, *, temporary: str | Path | None = None, like: str | Path | None = None
) -> Iterator[BinaryIO]:
    """Open a new file that replaces `path` when the block ends: complete, and flushed to disk.

    Nothing changes if the block raises.

    Parameters
    ----------
    path : the file to create or replace.
    temporary : path of the new file while it is written, in the same folder; by default a hidden unique name.
    like : the file whose permissions the new one gets, by default `path` itself; ignored if it does not exist.

    Raises
    ------
    OSError
        The operating system's error; see `writing`.
    """
    target = os.path.realpath(path)
    new = os.fspath(temporary or os.path.join(os.path.dirname(target), f".{uuid4().hex}"))
    try:
        with open(new, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(target if like is None or os.path.exists(target) else like, new)
        os.replace(new, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
    sync_folder(target)


def sync_folder(path: str | Path) -> None:
    """Flush the folder of a new file to disk, so that its name survives a power failure."""
    folder = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
