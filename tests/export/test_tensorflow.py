"""Checkpoints of TensorFlow: one written here byte by byte, and what damage is said of it."""

import struct

import numpy as np
import pytest

from export.crc32c import crc32c, masked_crc32c
from export.errors import CheckpointError
from export.tensorflow import MAGIC, read_bundle

TENSORS = {
    "a/bias": np.array([1.5, -2.0], np.float32),
    "a/kernel": np.arange(12, dtype=np.float32).reshape(3, 2, 2),
}


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # this and the next: RFC 3720, appendix B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c(data, value):
    assert crc32c(data) == value


def test_crc32c_of_any_length_is_that_of_the_bytes_one_by_one():
    rng = np.random.default_rng(0)
    for length in (1, 2, 3, 63, 64, 65, 1000, 4097):
        data, plain = rng.bytes(length), 0xFFFFFFFF
        for byte in data:
            plain ^= byte
            for _ in range(8):
                plain = (plain >> 1) ^ (0x82F63B78 if plain & 1 else 0)
        assert crc32c(data) == plain ^ 0xFFFFFFFF


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(rows: list[tuple[bytes, bytes]]) -> bytes:
    out, before = b"", b""
    for key, value in rows:
        shared = max(n for n in range(len(key) + 1) if key[:n] == before[:n])
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1)


def write(folder, *, header=b"", order=1, checksum=0, kind=0):
    """Both files of a checkpoint named x; the arguments spoil it."""
    data, rows = b"", [(b"", field(1, 1) + header)]
    for name, tensor in TENSORS.items():
        raw = tensor.tobytes()
        shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
        entry = field(1, order) + field(2, shape) + field(4, len(data)) + field(5, len(raw))
        rows.append((name.encode(), entry + b"\x35" + struct.pack("<I", masked_crc32c(raw) ^ checksum)))
        data += raw
    rows.append((b"global_step", field(1, 9) + field(4, 0) + field(5, 8)))  # an int64, which is left out
    table = b""

    def place(content: bytes) -> bytes:
        nonlocal table
        handle = varint(len(table)) + varint(len(content))
        tail = content + bytes([kind])
        table += tail + struct.pack("<I", masked_crc32c(tail))
        return handle

    meta, first = place(block([])), place(block(rows))
    index = place(block([(b"z", first)]))
    table += (meta + index).ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    (folder / "x.index").write_bytes(table)
    (folder / "x.data-00000-of-00001").write_bytes(data)


def test_the_float_tensors_are_read(tmp_path):
    write(tmp_path)
    found = read_bundle(tmp_path, "x")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[name], tensor)


@pytest.mark.parametrize(
    ("spoiled", "sentence"),
    [
        ({"checksum": 1}, "a/bias: wrong checksum"),
        ({"header": field(2, 1)}, "expected one shard, little endian"),
        ({"header": field(1, 2)}, "expected one shard"),
        ({"kind": 1}, "a block has compression type 1"),
    ],
)
def test_another_format_is_named(tmp_path, spoiled, sentence):
    write(tmp_path, **spoiled)
    with pytest.raises(CheckpointError, match=f"x.index is damaged .*{sentence}"):
        read_bundle(tmp_path, "x")


@pytest.mark.parametrize("end", ["index", "data-00000-of-00001"])
def test_a_missing_file_is_named(tmp_path, end):
    write(tmp_path)
    (tmp_path / f"x.{end}").unlink()
    with pytest.raises(CheckpointError, match=f"x.{end} cannot be read"):
        read_bundle(tmp_path, "x")


@pytest.mark.parametrize("end", ["index", "data-00000-of-00001"])
def test_any_damage_is_an_error_and_nothing_else(tmp_path, end):
    write(tmp_path)
    whole = (tmp_path / f"x.{end}").read_bytes()
    for place in range(len(whole)):
        spoiled = bytearray(whole)
        spoiled[place] ^= 0xFF
        (tmp_path / f"x.{end}").write_bytes(spoiled)
        try:
            found = read_bundle(tmp_path, "x")
        except CheckpointError:
            continue
        # Bytes that nothing depends on: the padding of the footer, the handle of the block that is not read.
        assert all(np.array_equal(found[name], tensor) for name, tensor in TENSORS.items())
        assert end == "index"
    for length in range(0, len(whole), 7):
        (tmp_path / f"x.{end}").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_bundle(tmp_path, "x")
