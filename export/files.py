"""Folders that one process writes to, fingerprints of files, and modules by name."""

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
    """Refuse to work in `folder` while another process does."""
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
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load(name: str) -> Any:
    """What "package.module:name" names; the module is imported only now."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
