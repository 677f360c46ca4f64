"""Chained Ogg: recordings joined one after the other, as internet radio and `cat` write them (RFC 3533, 4).

Each link has headers of its own, so rate, channels and clock may change from one to the next, and both libraries
lose their place there. A link by itself is an ordinary file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

PAGE = re.compile(rb"OggS\x00([\x00-\x07])")
BEGINS = 2  # bit of a page's type: the first page of a stream
FIRST_PAGES = 6


def links(data: bytes) -> Iterator[bytes]:
    """The links of an Ogg file, each with all its pages; what is before the first has no headers."""
    start = None
    for position in _starts(data):
        if start is not None:
            yield data[start:position]
        start = position
    yield data[start:] if start else data


def begins_whole(link: bytes) -> bool:
    """Whether no page is missing at the beginning of a link: pages are numbered for each stream."""
    following: dict[bytes, int] = {}
    for page, _ in zip(PAGE.finditer(link), range(FIRST_PAGES), strict=False):
        stream, number = struct.unpack_from("<4sI", link.ljust(page.start() + 22), page.start() + 14)
        if following.setdefault(stream, number) != number:
            return False
        following[stream] = number + 1
    return True


def _starts(data: bytes) -> Iterator[int]:
    """Where links begin: a first page behind one that was none; the streams of one link begin together."""
    within = True
    for page in PAGE.finditer(data):
        begins = page[1][0] & BEGINS
        if begins and within:
            yield page.start()
        within = not begins
