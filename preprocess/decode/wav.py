"""Reads facts from a WAV header that the libraries do not use (RIFF, Microsoft, 1991)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

EXTENSIBLE = 0xFFFE
BLOCK_CODECS = {0x0002, 0x0011, 0x0020, 0x0031}  # Microsoft, IMA and Yamaha ADPCM, GSM 6.10
MAX_CHUNKS = 1000
HEADER_BYTES = 1 << 16
ENDLESS = 0x7FFF_0000  # bytes; programs that write to a pipe declare about this size, or twice as much


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield name, declared size and first bytes of each chunk, up to the chunk of the samples."""
    position = 12
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        name, size = struct.unpack_from("<4sI", data, position)
        yield name, size, data[position + 8 : position + 8 + min(size, 40)]
        if name == b"data":
            return
        position += 8 + size + size % 2


def codec(data: bytes) -> tuple[int, int] | None:
    """Return the codec's number and the bits per sample; None if the header is incomplete."""
    for name, _, body in _chunks(data):
        if name == b"fmt " and len(body) >= 16:
            tag, bits = struct.unpack_from("<H12xH", body)
            return (struct.unpack_from("<H", body, 24)[0] if tag == EXTENSIBLE and len(body) >= 26 else tag), bits
    return None


def seconds_declared(data: bytes) -> float | None:
    """Return the seconds that the chunk `fact` declares for block codecs, whose last block is padded."""
    if data[8:12] != b"WAVE" or (kind := codec(data)) is None or kind[0] not in BLOCK_CODECS:
        return None
    chunks = {name: body for name, _, body in _chunks(data)}
    sr = struct.unpack_from("<I", chunks[b"fmt "], 4)[0]
    frames = int.from_bytes(chunks.get(b"fact", b"")[:4], "little")
    return frames / sr if frames and sr else None


def missing_share(data: bytes) -> float:
    """Return the share of the declared samples that the file lacks; 0 if the header declares no size."""
    if data[8:12] == b"WAVE" and (at := data.find(b"data", 12, HEADER_BYTES)) >= 0:
        size, there = int.from_bytes(data[at + 4 : at + 8], "little"), len(data) - at - 8
        if there < size < ENDLESS:
            return 1 - there / size
    return 0.0


def unfinished(data: bytes) -> bool:
    """Whether the header still declares 0 bytes of samples, as after an interrupted recording."""
    return data[8:12] == b"WAVE" and any(name == b"data" and size == 0 for name, size, _ in _chunks(data))
