"""Files of users: which endings recordings have, and how results are written so that none is ever half a file."""

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
"""Endings of recordings, in small letters."""


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Raise `OutputFailed` where the operating system refuses to write `path`."""
    try:
        yield
    except OSError as error:
        raise OutputFailed(f"'{path}' cannot be written: {error.strerror or error}.") from None


@contextmanager
def replacing(
    path: str | Path, *, temporary: str | Path | None = None, like: str | Path | None = None
) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when the block ends: complete, and on the disk.

    Nothing changes where the block raises.

    Parameters
    ----------
    path : the file to make or replace.
    temporary : where the new file is written meanwhile, in the same folder; a hidden unique name unless given.
    like : the file whose permissions the new one gets; `path` itself unless given. Ignored where there is none.

    Raises
    ------
    OSError
        As the operating system says; see `writing`.
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
    """Bring the name of a new file to the disk."""
    folder = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
