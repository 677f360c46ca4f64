"""CRC-32C (Castagnoli, RFC 3720 appendix B.4) in NumPy: parallel lanes that are combined at the end."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

POLYNOMIAL = 0x82F63B78  # reflected
MASK = 0xA282EAD8  # LevelDB's; makes checksums of data that contains checksums safe

Words = npt.NDArray[np.uint32]


def masked_crc32c(data: bytes) -> int:
    """Return the checksum as LevelDB and TensorFlow store it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + MASK) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of bytes."""
    lanes = max(1, int(len(data) ** 0.5))
    length = len(data) // lanes
    columns = np.frombuffer(data, np.uint8, lanes * length).reshape(lanes, length).T
    crcs = np.zeros(lanes, np.uint32)
    crcs[0] = 0xFFFFFFFF
    table = _table()
    for column in np.ascontiguousarray(columns):
        crcs = table[(crcs ^ column) & 255] ^ (crcs >> 8)
    beyond = _zeros(length)
    total = 0
    for crc in crcs.tolist():  # crc(A + B) is crc(A) advanced by len(B) zero bytes, xor crc(B)
        total = _apply(beyond, total) ^ crc
    for byte in data[lanes * length :]:
        total = int(table[(total ^ byte) & 255]) ^ (total >> 8)
    return total ^ 0xFFFFFFFF


@lru_cache(maxsize=1)
def _table() -> Words:
    """Return the effect of each byte value on the checksum: uint32 [256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1)
    return table


def _zeros(n: int) -> tuple[int, ...]:
    """Return the effect of n zero bytes on each bit of a checksum, by repeated squaring."""
    result, power = tuple(1 << bit for bit in range(32)), _byte()
    while n:
        if n & 1:
            result = tuple(_apply(power, row) for row in result)
        power, n = tuple(_apply(power, row) for row in power), n >> 1
    return result


def _byte() -> tuple[int, ...]:
    table = _table().tolist()
    return tuple(table[(1 << bit) & 255] ^ ((1 << bit) >> 8) for bit in range(32))


def _apply(operator: tuple[int, ...], crc: int) -> int:
    """Apply a linear operator to the bits of a checksum."""
    result, bit = 0, 0
    while crc:
        if crc & 1:
            result ^= operator[bit]
        crc, bit = crc >> 1, bit + 1
    return result
