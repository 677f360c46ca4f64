"""Reading with libsndfile: WAV, AIFF, FLAC, Ogg Vorbis, MP3 and a few others, bit for bit what librosa hears.

libsndfile ends some files early without an error: where an MP3's first frame says so, at damage, at the end of the
first of two joined files. What it left unread shows it; then the reader raises Incomplete, and FFmpeg is asked.
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

# By the first bytes, before libsndfile parses anything; then by its name, because RIFF and FORM hold others, too.
SIGNATURES = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"caff", b"fLaC", b"OggS", b"NIST", b"Crea")
FORMATS = {"WAV", "WAVEX", "RF64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "NIST", "VOC"}
ENDLESS = 1 << 62  # so many frames stand for a stream whose length is not in its header
FLAC_FRAME = re.compile(rb"\xff[\xf8\xf9]")
MARGIN = 5 * 1152  # frames of an MP3 that encoder delay, padding and a first frame without sound account for


class _SoundFile(sf.SoundFile):
    """A file read from beginning to end.

    soundfile seeks after each read of a seekable file, which resets an MP3 decoder: the first frame after
    it differs. It also trusts the header's number of frames then, which a FLAC stream may leave at zero.
    """

    def seekable(self) -> bool:
        return False


class _Stream(io.BytesIO):
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset; a wrong header's negative one would print a traceback from within libsndfile's call."""
        return super().seek(max(offset, 0) if whence == io.SEEK_SET else offset, whence)


class Sndfile:
    """A Reader (see reader.py) of a file that libsndfile knows; Incomplete is raised for any other."""

    def __init__(self, data: bytes, limits: Limits, meter: Meter) -> None:
        is_mp3 = data[:3] == b"ID3" or mpeg.begins_frame(data)
        # libsndfile 1.2 gives up on some intact Opus files, and is the slower one for the others.
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
        self._holds = self.duration  # seconds, where that is known
        if self.duration and (missing := wav.missing_share(data)):
            self.duration /= 1 - missing
        if self._file.format == "MP3":
            counted = mpeg.count_frames(data)
            if frames < counted.seconds * sr - MARGIN:
                raise Incomplete  # it would stop there
            self._holds = min(frames / sr, counted.seconds) if counted.count else None
            if not counted.declared:
                self.duration = self._holds
        elif frames == 0:
            raise Incomplete  # a header that was never finished, or a file without samples: FFmpeg knows
        if self._holds is not None:
            limits.check_seconds(self._holds)

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield float32 [frames, channels] and their rate; raise Incomplete at an end that is not the file's."""
        try:
            while len(block := self._read()):
                yield block, self._file.samplerate
        except (sf.LibsndfileError, RuntimeError) as error:
            raise Incomplete from error
        if self._left_unread():
            raise Incomplete

    def _read(self) -> Block:
        """Read a block, but not beyond the declared end: what is read together with an error is lost."""
        left = self._file.frames - self._frames
        size = min(BLOCK_FRAMES, left) if left > 0 else BLOCK_FRAMES
        block = self._file.read(size, dtype="float32", always_2d=True)
        self._frames += len(block)
        return block

    def measure(self) -> float | None:
        """Seconds of the whole recording, of which only the beginning was read."""
        if self._holds is None:  # no header gives them: read on
            with suppress(sf.LibsndfileError, RuntimeError):
                while len(self._read()):
                    self._meter.check_time()
            return self._frames / self._file.samplerate
        return self._holds

    def close(self) -> None:
        """Free the file."""
        self._file.close()

    def _left_unread(self) -> bool:
        """Whether sound follows what was read: other chunks and tags may."""
        rest = self._stream.tell()
        match self._file.format:
            case "MP3":
                return mpeg.count_frames(self._data, rest).count > 0
            case "OGG":
                # Where pages are missing, it joins what is left; the clock of the last page shows it.
                return self._frames < self._file.frames or b"OggS" in self._data[rest:]
            case "FLAC":
                return FLAC_FRAME.search(self._data, rest) is not None
        return False
