"""Exclusive access to folders, checksums of files, and imports by name."""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export.errors import ExportError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Lock a folder; raise `ExportError` if another process holds the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ExportError(f"another export is writing to {folder}; wait until it is done") from error
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load(name: str) -> Any:
    """Import the module of "package.module:name" and return the object."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
