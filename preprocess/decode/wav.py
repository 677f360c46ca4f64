"""The two things that a WAV header says and that the libraries do not use (RIFF, Microsoft, 1991)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
MOST_CHUNKS = 1000


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Name, declared size and first bytes of each chunk up to that of the samples."""
    position = 12
    for _ in range(MOST_CHUNKS):
        if position + 8 > len(data):
            return
        name, size = struct.unpack_from("<4sI", data, position)
        yield name, size, data[position + 8 : position + 8 + min(size, 40)]
        if name == b"data":
            return
        position += 8 + size + size % 2


def codec(data: bytes) -> tuple[int, int] | None:
    """The number of the codec, and bits per sample; None where the header does not get so far."""
    for name, _, body in _chunks(data):
        if name == b"fmt " and len(body) >= 16:
            tag, bits = struct.unpack_from("<H12xH", body)
            return (struct.unpack_from("<H", body, 24)[0] if tag == EXTENSIBLE and len(body) >= 26 else tag), bits
    return None


def seconds_declared(data: bytes) -> float | None:
    """Length of compressed sound by the chunk `fact`: the last block of an ADPCM file is padded beyond it."""
    if data[8:12] != b"WAVE" or (kind := codec(data)) is None or kind[0] in (PCM, FLOAT):
        return None
    chunks = {name: body for name, _, body in _chunks(data)}
    sr = struct.unpack_from("<I", chunks[b"fmt "], 4)[0]
    fact = chunks.get(b"fact", b"")
    return struct.unpack_from("<I", fact)[0] / sr if len(fact) >= 4 and sr else None


def unfinished(data: bytes) -> bool:
    """Whether the size of the samples stayed 0, as a recorder that was stopped leaves it."""
    return data[8:12] == b"WAVE" and any(name == b"data" and size == 0 for name, size, _ in _chunks(data))
