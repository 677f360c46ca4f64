"""Reads with libsndfile: WAV, AIFF, FLAC, Ogg Vorbis, MP3 and a few others, bit for bit what librosa reads.

libsndfile ends some files early without an error: at the end that an MP3's first frame declares, at damage, or
after the first of two joined files. Unread sound reveals this; the reader then raises Incomplete, and FFmpeg reads
the file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import suppress

import soundfile as sf

from preprocess.decode import mpeg, wav
from preprocess.decode.reader import BLOCK_FRAMES, Block, Incomplete
from preprocess.limits import Limits, Meter

# Checked before libsndfile parses the file; then FORMATS by name, because RIFF and FORM also contain other
# formats.
SIGNATURES = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"caff", b"fLaC", b"OggS", b"NIST", b"Crea")
FORMATS = {"WAV", "WAVEX", "RF64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "NIST", "VOC"}
ENDLESS = 1 << 62  # libsndfile's number of frames if the header has no length
FLAC_FRAME = re.compile(rb"\xff[\xf8\xf9]")
MARGIN = 5 * 1152  # samples of an MP3 for encoder delay, padding and a first frame without sound


class _SoundFile(sf.SoundFile):
    """A file that is read from beginning to end.

    After each read of a seekable file, soundfile seeks, which resets an MP3 decoder and changes the next frame. It
    also trusts the header's number of frames, which may be zero in a FLAC stream.
    """

    def seekable(self) -> bool:
        return False


class _Stream(io.BytesIO):
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek; clip negative offsets of wrong headers, which would print a traceback in libsndfile."""
        return super().seek(max(offset, 0) if whence == io.SEEK_SET else offset, whence)


class Sndfile:
    """A Reader (reader.py) for files that libsndfile supports; raises Incomplete for any other."""

    def __init__(self, data: bytes, limits: Limits, meter: Meter) -> None:
        is_mp3 = data[:3] == b"ID3" or mpeg.begins_frame(data)
        # libsndfile 1.2 fails on some intact Opus files, and is slower than FFmpeg for the others.
        if not (is_mp3 or data.startswith(SIGNATURES)) or b"OpusHead" in data[:64]:
            raise Incomplete
        self.notes: tuple[str, ...] = ()
        self._frames = 0
        self._meter = meter
        self._data, self._stream = data, _Stream(data)
        try:
            self._file = _SoundFile(self._stream)
        except sf.LibsndfileError as error:
            raise Incomplete from error
        if self._file.format not in FORMATS:
            raise Incomplete
        frames, sr = self._file.frames, self._file.samplerate
        limits.check_format(self._file.channels, sr)
        self.end = wav.seconds_declared(data)
        self.duration = None if frames >= ENDLESS else frames / sr
        self._holds = self.duration  # seconds in the file, if known
        if self.duration and (missing := wav.missing_share(data)):
            self.duration /= 1 - missing
        if self._file.format == "MP3":
            counted = mpeg.count_frames(data)
            if frames < counted.seconds * sr - MARGIN:
                raise Incomplete  # libsndfile would stop early
            self._holds = min(frames / sr, counted.seconds) if counted.count else None
            if not counted.declared:
                self.duration = self._holds
        elif frames == 0:
            raise Incomplete  # an unfinished header, or a file without samples: FFmpeg can tell them apart
        if self._holds is not None:
            limits.check_seconds(self._holds)

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield float32 [frames, channels] and their rate in Hz; raise Incomplete if sound is left unread."""
        try:
            while len(block := self._read()):
                yield block, self._file.samplerate
        except (sf.LibsndfileError, RuntimeError) as error:
            raise Incomplete from error
        if self._left_unread():
            raise Incomplete

    def _read(self) -> Block:
        """Read a block, but not beyond the declared end: an error there would lose the block's samples."""
        left = self._file.frames - self._frames
        size = min(BLOCK_FRAMES, left) if left > 0 else BLOCK_FRAMES
        block = self._file.read(size, dtype="float32", always_2d=True)
        self._frames += len(block)
        return block

    def measure(self) -> float | None:
        """Return the seconds of the whole recording, of which only the beginning was read."""
        if self._holds is None:  # no header gives the length: read on
            with suppress(sf.LibsndfileError, RuntimeError):
                while len(self._read()):
                    self._meter.check_time()
            return self._frames / self._file.samplerate
        return self._holds

    def close(self) -> None:
        """Free the file."""
        self._file.close()

    def _left_unread(self) -> bool:
        """Whether there is sound, not just other chunks and tags, after the bytes read so far."""
        rest = self._stream.tell()
        match self._file.format:
            case "MP3":
                return mpeg.count_frames(self._data, rest).count > 0
            case "OGG":
                # libsndfile joins the pages around missing ones; the clock of the last page reveals it.
                return self._frames < self._file.frames or b"OggS" in self._data[rest:]
            case "FLAC":
                return FLAC_FRAME.search(self._data, rest) is not None
        return False
