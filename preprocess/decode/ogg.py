"""Splits chained Ogg: recordings joined one after the other, as internet radio and `cat` do (RFC 3533, 4).

Each link has its own headers, so rate, channels and clock may change from one to the next, which neither library
handles. A single link is an ordinary file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

PAGE = re.compile(rb"OggS\x00([\x00-\x07])")
BEGINS = 2  # bit of a page's type: the first page of a stream
FIRST_PAGES = 6


def links(data: bytes) -> Iterator[bytes]:
    """Yield the links of an Ogg file, each with all its pages; skip pages before the first link."""
    start = None
    for position in _starts(data):
        if start is not None:
            yield data[start:position]
        start = position
    yield data[start:] if start else data


def starts_complete(link: bytes) -> bool:
    """Whether no page is missing at the beginning of a link, by the page numbers of each stream."""
    following: dict[bytes, int] = {}
    for page, _ in zip(PAGE.finditer(link), range(FIRST_PAGES), strict=False):
        stream, number = struct.unpack_from("<4sI", link.ljust(page.start() + 22), page.start() + 14)
        if following.setdefault(stream, number) != number:
            return False
        following[stream] = number + 1
    return True


def _starts(data: bytes) -> Iterator[int]:
    """Yield the starts of links: first pages after other pages, since the streams of a link begin together."""
    within = True
    for page in PAGE.finditer(data):
        begins = page[1][0] & BEGINS
        if begins and within:
            yield page.start()
        within = not begins
