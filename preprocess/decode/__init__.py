"""Decodes a file to blocks of samples, with the file's rate, channels and time axis.

    for part in parts(data):                      # one; more if a file joins recordings (chained Ogg)
        for reader in open_readers(part, limits): # try the next one if a reader raises Incomplete
            for block, sr in reader.blocks():     # float32 [frames, channels], Hz

There are two readers: `sndfile` (libsndfile: fast, and bit for bit what librosa reads) and `ffmpeg` (FFmpeg
through PyAV: for all other files, and for those that libsndfile does not read to their end). `mpeg`, `ogg` and
`wav` parse formats whose headers may be absent, repeated or wrong.
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

MAX_TAGS = 4  # ID3 tags to skip
FLAC = b"fLaC\x00\x00\x00\x22"  # start of a file: signature and block STREAMINFO (RFC 9639, 8.1)


def parts(data: bytes) -> Iterator[bytes]:
    """Yield the recordings that a file joins one after the other, without the tags before them."""
    start = 0
    for _ in range(MAX_TAGS):
        start += mpeg.skip_id3(data, start)
    # Some programs write ID3 tags before WAV, AIFF and FLAC, too, where both libraries fail on them.
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
    """Yield the readers of one part, in the order in which to try them.

    Raises
    ------
    RecordingError
        the data exceed a limit, or FFmpeg cannot decode them
    """
    with suppress(Incomplete):
        yield Sndfile(data, limits, meter)
    yield Ffmpeg(data, limits, meter)
