"""The two things that a WAV header says and that the libraries do not use (RIFF, Microsoft, 1991)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and the first bytes of each chunk before the samples, and that of the samples."""
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        yield name, data[position + 8 : position + 8 + min(size, 40)]
        if name == b"data":
            return
        position += 8 + size + size % 2


def format_tag(data: bytes) -> int | None:
    """The number of the codec; None where the header does not get so far."""
    for name, body in _chunks(data):
        if name == b"fmt " and len(body) >= 16:
            tag = struct.unpack_from("<H", body)[0]
            return struct.unpack_from("<H", body, 24)[0] if tag == EXTENSIBLE and len(body) >= 26 else tag
    return None


def frames_declared(data: bytes) -> int | None:
    """Frames of compressed sound by the chunk `fact`: the last block of an ADPCM file is padded beyond them."""
    if data[8:12] != b"WAVE" or format_tag(data) in (None, PCM, FLOAT):
        return None
    facts = (body for name, body in _chunks(data) if name == b"fact" and len(body) >= 4)
    return next((struct.unpack_from("<I", body)[0] for body in facts), None)


def unfinished(data: bytes) -> bool:
    """Whether the size of the samples stayed 0, as a recorder that was stopped leaves it."""
    position, name = 12, b""
    while data[8:12] == b"WAVE" and position + 8 <= len(data) and name != b"data":
        name, size = struct.unpack_from("<4sI", data, position)
        position += 8 + size + size % 2
    return name == b"data" and size == 0
