"""Reads the tensors of a TensorFlow checkpoint (tensor bundle, version 2) without TensorFlow.

A checkpoint is two files: `<name>.index`, a sorted table in LevelDB's format of tensor name -> BundleEntryProto,
and `<name>.data-00000-of-00001`, the bytes of all tensors. The CRC-32C checksums of both are verified. The formats
are described in tensorflow/core/protobuf/tensor_bundle.proto and in LevelDB's doc/table_format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.crc32c import masked_crc32c
from export.errors import CheckpointError

MAGIC = 0xDB4775248B80FB57
FOOTER = 48  # bytes
DT_FLOAT = 1
DATA = ".data-00000-of-00001"
MAX_BYTES = 1 << 30

Message = dict[int, list[Any]]


def read_bundle(folder: Path, name: str = "") -> dict[str, npt.NDArray[np.float32]]:
    """Read the float32 tensors of a checkpoint; tensors of other types (counters) are skipped.

    Parameters
    ----------
    folder, name : folder of the files, and their name without `.index` and `.data-00000-of-00001`

    Raises
    ------
    CheckpointError
        If a file is missing, damaged, too large or of another format.
    """
    index, data = folder / f"{name}.index", folder / f"{name}{DATA}"
    try:
        table, values = index.read_bytes(), data.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read ({error.strerror})") from error
    if len(values) > MAX_BYTES:
        raise CheckpointError(f"{data} has {len(values)} bytes, more than the limit of {MAX_BYTES}")
    try:
        return dict(_tensors(table, values))
    except (IndexError, struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{index} is damaged ({error})") from error


def _tensors(table: bytes, values: bytes) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    entries = dict(_entries(table))
    header = _message(entries.pop(b""))
    if header.get(1, [1]) != [1] or header.get(2, [0]) != [0]:
        raise ValueError("expected one shard, little endian")
    for name, content in entries.items():
        entry = _message(content)
        if entry.get(1) != [DT_FLOAT]:
            continue
        shape = [_message(dim).get(1, [0])[0] for dim in _message(entry.get(2, [b""])[0]).get(2, [])]
        offset, size = entry.get(4, [0])[0], entry.get(5, [0])[0]
        raw = values[offset : offset + size]
        if len(raw) != size or size != 4 * int(np.prod(shape)):
            raise ValueError(f"{name.decode()} does not have the bytes of its shape {shape}")
        if entry[6] != [masked_crc32c(raw)]:
            raise ValueError(f"{name.decode()}: wrong checksum")
        yield name.decode(), np.frombuffer(raw, "<f4").reshape(shape)


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of every row of the table."""
    footer = table[-FOOTER:]
    if len(footer) != FOOTER or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("it has no table footer")
    place = 0
    for _ in range(2):  # skip the handle of the meta index
        _, place = _varint(footer, place)
    for _, handle in _rows(_block(table, footer[place:])):
        yield from _rows(_block(table, handle))


def _block(table: bytes, handle: bytes) -> bytes:
    """Return the block at a handle, which must be uncompressed and have the right checksum."""
    offset, place = _varint(handle, 0)
    size, _ = _varint(handle, place)
    block, kind = table[offset : offset + size], table[offset + size]
    if kind != 0:
        raise ValueError(f"a block has compression type {kind}, expected none")
    if struct.unpack_from("<I", table, offset + size + 1)[0] != masked_crc32c(table[offset : offset + size + 1]):
        raise ValueError("a block has a wrong checksum")
    return block


def _rows(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of a block; each key is stored without the prefix that it shares with the previous one."""
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + length]
        place += length


def _message(content: bytes) -> Message:
    """Return the fields of a protocol buffer by number: varints and fixed32 as numbers, others as bytes."""
    fields: Message = {}
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == 0:
            value, place = _varint(content, place)
        elif kind == 5:
            value, place = struct.unpack_from("<I", content, place)[0], place + 4
        elif kind == 2:
            length, place = _varint(content, place)
            value, place = content[place : place + length], place + length
        else:
            raise ValueError(f"field of kind {kind}")
        fields.setdefault(number, []).append(value)
    return fields


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Read a number of seven bits per byte, lowest first; return it and the position after it."""
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
