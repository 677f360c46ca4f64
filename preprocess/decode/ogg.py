"""Chained Ogg: recordings joined one after the other, as internet radio and `cat` write them (RFC 3533, 4).

Each link has headers of its own, so rate, channels and clock may change from one to the next, and both libraries
lose their place there. A link by itself is an ordinary file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PAGE = re.compile(rb"OggS\x00([\x00-\x07])")
FIRST = re.compile(rb"OggS\x00[\x02\x03\x06\x07]")
BEGINS = 2  # bit of a page's type: the first page of a stream


def links(data: bytes) -> Iterator[bytes]:
    """The links of an Ogg file, each with all its pages; the file itself where it has one only."""
    starts = _starts(data) if len(FIRST.findall(data)) > 1 else []
    if len(starts) < 2:
        yield data
        return
    for start, stop in zip(starts, [*starts[1:], len(data)], strict=True):
        yield data[start:stop]


def _starts(data: bytes) -> list[int]:
    """Where links begin: a first page behind one that was none. (The streams of one link begin together.)"""
    starts, within = [], True
    for page in PAGE.finditer(data):
        begins = page[1][0] & BEGINS
        if begins and within:
            starts.append(page.start())
        within = not begins
    return starts
