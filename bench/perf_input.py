"""Input files for perf_analyzer."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from pathlib import Path


def write_input(path: Path, recordings: Sequence[bytes], options: dict | None) -> Path:
    """Write the JSON for `perf_analyzer --input-data`, one entry per recording, and return its path.

    A BYTES value is base64 of a 4-byte little-endian length followed by the content. If options is None, requests
    contain AUDIO only.
    """

    def tensor(content: bytes) -> dict:
        return {
            "content": {"b64": base64.b64encode(struct.pack("<I", len(content)) + content).decode()},
            "shape": [1],
        }

    fixed = {} if options is None else {"OPTIONS": tensor(json.dumps(options).encode())}
    path.write_text(json.dumps({"data": [{"AUDIO": tensor(r), **fixed} for r in recordings]}))
    return path
