"""Counts the frames of an MPEG audio file (MP3), the only reliable measure of its length.

An MP3 declares its length in an optional first frame (Xing, Info or VBRI). Encoders that write to a pipe omit it,
and joined or cut files keep a wrong one; libraries then estimate the length, or stop at the declared end. Each
frame's header gives its size and number of samples (ISO/IEC 11172-3 2.4.1.3, 13818-3), so counting goes from
header to header: about 0.15 us each.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

V1_KBPS = {
    1: range(32, 449, 32),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
V2_KBPS = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
V2_KBPS[3] = V2_KBPS[2]
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits, Hz

SYNC = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]")
FREE_FORMAT = re.compile(rb"\xff[\xfa-\xfd\xf2-\xf5][\x00-\x0b]")
MAX_SYNCS = 100_000  # frame starts to try before the bytes count as not MP3
TAG_BYTES = 200  # bytes of the first frame that may contain one of the DECLARATIONS
DECLARATIONS = (b"Xing", b"Info", b"VBRI")


@dataclass(frozen=True)
class Frames:
    """The frames of a file.

    Attributes
    ----------
    seconds : length of the sound with encoder delay and padding, without the frame that declares the length
    count : number of frames
    declared : whether a first frame (Xing, Info) declares a number of frames, as read by libmpg123
    """

    seconds: float
    count: int
    declared: bool


def _headers() -> dict[bytes, tuple[int, int, int]]:
    """Map the first three bytes of a frame to its size in bytes, samples and rate in Hz, except free format."""
    headers = {}
    for version, rates in RATES.items():
        for layer in (1, 2, 3):
            samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]
            for index, kbps in enumerate((V1_KBPS if version == 3 else V2_KBPS)[layer], 1):
                for rate_index, sr in enumerate(rates):
                    for padding in (0, 1):
                        slot = 4 if layer == 1 else 1
                        size = (samples // 8 // slot * kbps * 1000 // sr + padding) * slot
                        for unprotected in (0, 1):
                            for private in (0, 1):
                                second = 0xE0 | version << 3 | (4 - layer) << 1 | unprotected
                                third = index << 4 | rate_index << 2 | padding << 1 | private
                                headers[bytes((0xFF, second, third))] = size, samples, sr
    return headers


HEADERS = _headers()


def count_frames(data: bytes, start: int = 0) -> Frames:
    """Count the complete frames from byte `start` on; skip anything between them (tags, damage, junk)."""
    tries = iter(range(MAX_SYNCS))
    position = _sync(data, start, tries)
    first = data[position : position + TAG_BYTES] if position is not None else b""
    found: dict[tuple[int, int, int], int] = defaultdict(int)
    end = len(data)
    while position is not None:
        header = HEADERS.get(data[position : position + 3])
        if header is None:
            position = _sync(data, position, tries)
        elif (position := position + header[0]) <= end:
            found[header] += 1
        else:
            break
    if any(tag in first for tag in DECLARATIONS) and found.get(declared := HEADERS[first[:3]]):
        found[declared] -= 1  # this frame has no sound
    seconds = sum(n * samples / sr for (_, samples, sr), n in found.items())
    return Frames(seconds, sum(found.values()), b"Xing" in first or b"Info" in first)


def begins_frame(data: bytes, position: int = 0) -> bool:
    """Whether a frame header may start here; also one in free format, which does not give its size."""
    head = data[position : position + 3]
    return head in HEADERS or bool(FREE_FORMAT.match(head))


def _sync(data: bytes, position: int, tries: Iterator[int]) -> int | None:
    """Return the start of the next frame: a header followed by another one, by a tag or by the end."""
    for _ in tries:
        position += skip_id3(data, position)
        match = SYNC.search(data, position)
        if match is None:
            return None
        position = match.start()
        if header := HEADERS.get(match.group()):
            following = position + header[0]
            if following == len(data) or data[following : following + 3] in HEADERS:
                return position
            if data[following : following + 3] in (b"TAG", b"APE", b"ID3"):
                return position
        position += 1
    return None


def skip_id3(data: bytes, position: int = 0) -> int:
    """Return the size in bytes of the ID3v2 tag at a position, or 0 (id3.org, ID3v2.4 section 3.1)."""
    head = data[position : position + 10]
    if len(head) < 10 or head[:3] != b"ID3" or any(byte & 0x80 for byte in head[6:]):
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)
