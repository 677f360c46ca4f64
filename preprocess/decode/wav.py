"""The two things that a WAV header says and that the libraries do not use (RIFF, Microsoft, 1991)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

EXTENSIBLE = 0xFFFE
BLOCK_CODECS = {0x0002, 0x0011, 0x0020, 0x0031}  # Microsoft, IMA and Yamaha ADPCM, GSM 6.10
MOST_CHUNKS = 1000
HEADER_BYTES = 1 << 16
ENDLESS = 0x7FFF_0000  # bytes; programs that write to a pipe declare about so many, or twice as many


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
    """Length of what a block codec holds by the chunk `fact`: its last block is padded beyond it."""
    if data[8:12] != b"WAVE" or (kind := codec(data)) is None or kind[0] not in BLOCK_CODECS:
        return None
    chunks = {name: body for name, _, body in _chunks(data)}
    sr = struct.unpack_from("<I", chunks[b"fmt "], 4)[0]
    frames = int.from_bytes(chunks.get(b"fact", b"")[:4], "little")
    return frames / sr if frames and sr else None


def missing_share(data: bytes) -> float:
    """Share of the samples that the header declares and the file does not have; 0 where it declares no size."""
    if data[8:12] == b"WAVE" and (at := data.find(b"data", 12, HEADER_BYTES)) >= 0:
        size, there = int.from_bytes(data[at + 4 : at + 8], "little"), len(data) - at - 8
        if there < size < ENDLESS:
            return 1 - there / size
    return 0.0


def unfinished(data: bytes) -> bool:
    """Whether the size of the samples stayed 0, as a recorder that was stopped leaves it."""
    return data[8:12] == b"WAVE" and any(name == b"data" and size == 0 for name, size, _ in _chunks(data))
