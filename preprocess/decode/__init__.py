"""Encoded recording -> blocks of samples, with the rate, the channels and the time axis that the file has.

    for part in parts(data):                      # one; several where a file joins recordings (chained Ogg)
        for reader in open_readers(part, limits): # the next one where a reader raises Incomplete
            for block, sr in reader.blocks():     # float32 [frames, channels], Hz

Two libraries read: `sndfile` (libsndfile, fast and bit for bit what librosa hears) and `ffmpeg` (FFmpeg through
PyAV, for everything else and for what libsndfile does not read to its end). `mpeg`, `ogg` and `wav` look at the
bytes of formats whose headers may be absent, repeated or wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from preprocess.decode import mpeg, ogg
from preprocess.decode.ffmpeg import Ffmpeg
from preprocess.decode.reader import BLOCK_FRAMES, Block, Incomplete, Reader, Samples
from preprocess.decode.sndfile import Sndfile
from preprocess.limits import Limits, Meter

__all__ = ["BLOCK_FRAMES", "Block", "Incomplete", "Reader", "Samples", "open_readers", "parts"]

MOST_TAGS = 4
FLAC = b"fLaC\x00\x00\x00\x22"  # how a file begins: with the block STREAMINFO (RFC 9639, 8.1)


def parts(data: bytes) -> Iterator[bytes]:
    """The recordings that a file joins one after the other, without a tag before them, their headers mended."""
    start = 0
    for _ in range(MOST_TAGS):
        start += mpeg.skip_id3(data, start)
    # Some programs put one before WAV, AIFF and FLAC, too, and both libraries then lose their place.
    if start and not mpeg.begins_frame(data, start):
        data = data[start:]
    if data.startswith(b"OggS"):
        yield from ogg.links(data)
    elif data.startswith(FLAC):
        for flac in data.split(FLAC)[1:]:
            yield FLAC + flac
    else:
        yield data


def open_readers(data: bytes, limits: Limits, meter: Meter) -> Iterator[Reader]:
    """The readers of one part, in the order in which to try them.

    Raises
    ------
    RecordingError
        beyond a limit, or nothing that FFmpeg can decode
    """
    with suppress(Incomplete):
        yield Sndfile(data, limits, meter)
    yield Ffmpeg(data, limits, meter)
