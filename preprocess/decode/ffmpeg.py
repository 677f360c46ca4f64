"""Reads with FFmpeg's libraries (PyAV): M4A/AAC, WMA, Opus, AMR, MP4, WebM, and files that libsndfile cannot read.

Time stamps place the frames: silence replaces packets that are missing (some recorders send none in a pause) or
fail to decode, so that everything after them keeps its place.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import numpy as np

from preprocess.decode import mpeg, ogg, wav
from preprocess.decode.clock import Clock
from preprocess.decode.codecs import CODECS, ENCRYPTED, stream_names
from preprocess.decode.mpeg import DECLARATIONS, TAG_BYTES
from preprocess.decode.reader import BLOCK_FRAMES, Block
from preprocess.errors import RecordingError, Undecodable
from preprocess.limits import ROUNDING, Limits, Meter

# Security: only formats that contain their sound, because others (SDP, HLS, concat scripts) make FFmpeg fetch from
# the server's network or disk; no protocols; and only decoders of common audio codecs, because FFmpeg has hundreds
# and would even decode cover art.
FORMATS = "aac,ac3,aiff,amr,asf,au,caf,eac3,flac,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,ogg,w64,wav"
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "none", "codec_whitelist": ",".join(sorted(CODECS))}

# Formats that declare the length of the audio stream. For others FFmpeg estimates it from the bit rate, or knows
# only the length of the file with all its streams.
DECLARING = ("mov", "wav", "flac", "aiff", "caf", "au", "w64", "ogg")
DECLARING_FILE = ("matroska", "asf")  # the length of all streams together: usable if there is only one
# Formats without a clock: time stamps count packets, including those without sound.
CLOCKLESS = ("mp3", "aac", "ac3", "eac3")
FROM_ZERO = ("flac", "amr", "wav", "aiff", "caf", "au", "w64")
# Codecs whose encoders describe a pause instead of encoding it: a packet that does not decode is silence.
PAUSING = ("amrnb", "amrwb")


class Ffmpeg:
    """A Reader (reader.py) for files that FFmpeg supports.

    Raises
    ------
    Undecodable
        the data are not audio, no stream has a decoder, or (from `blocks`) no packet can be decoded
    RecordingError
        the recording exceeds a limit (also from `blocks`)
    """

    def __init__(self, data: bytes, limits: Limits, meter: Meter) -> None:
        self._data, self._limits = data, limits
        self._source = _Source(data, meter)
        self._container = _open_container(self._source, data)
        self._stream = _choose_stream(self._container, data)
        codec = self._stream.codec_context
        limits.check_format(codec.channels, codec.sample_rate)
        self._format = self._container.format.name.split(",")[0]
        self.duration = mpeg.count_frames(data).seconds if self._format == "mp3" else self._declared()
        if self.duration is not None and self._format not in DECLARING_FILE:
            limits.check_seconds(self.duration)
        # Edit lists end within a packet.
        self.end = self.duration if self._format == "mov" else wav.seconds_declared(data)
        self._unfinished = self._format == "wav" and wav.unfinished(data)
        self._packets = self._container.demux(self._stream)
        self._clock = Clock(limits.max_seconds + ROUNDING, 0.0 if self._begins_at_zero(data) else None)
        self._failed = self._damaged = 0
        self._is_cut_short = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about damage that was repaired so far."""
        notes = self._clock.notes()
        if self._unfinished:
            notes += ("The WAV header declares 0 bytes of samples; the file was read to its end.",)
        if self._damaged and not self._clock.notes():
            packets = "A damaged packet" if self._damaged == 1 else f"{self._damaged} damaged packets"
            notes += (f"{packets} of the recording could not be decoded; the sound before and after was joined.",)
        if self._is_cut_short:
            notes += ("The file is damaged: everything after the last readable packet was skipped.",)
        return notes

    def close(self) -> None:
        """Free the file."""
        self._container.close()

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """Yield float32 [frames, channels] and their rate in Hz; short frames are joined to blocks."""
        waiting: list[Block] = []
        frames = rate = 0
        for part, sr in self._parts():
            if waiting and (frames >= BLOCK_FRAMES or sr != rate or part.shape[1] != waiting[0].shape[1]):
                yield np.concatenate(waiting), rate
                waiting, frames = [], 0
            waiting.append(part)
            rate, frames = sr, frames + len(part)
        if waiting:
            yield np.concatenate(waiting), rate
        elif self._failed:
            codec = self._stream.codec_context.name
            raise Undecodable(
                f"None of the {self._failed} packets of sound, encoded as {codec}, can be decoded: the file is"
                " damaged or encrypted."
            )

    def measure(self) -> float | None:
        """Return the seconds of the whole recording: as declared, or by the time stamps of all packets."""
        if self.duration is not None:
            return self.duration
        try:
            for packet in self._packets:
                self._clock.pass_over(_end(packet))
        except av.FFmpegError:
            pass  # the file ends here
        return self._clock.length()

    def _begins_at_zero(self, data: bytes) -> bool:
        """Whether time stamps count from the recording's beginning, so that they reveal missing packets there."""
        return self._format in FROM_ZERO or (self._format == "ogg" and not ogg.starts_complete(data))

    def _declared(self) -> float | None:
        """Return the declared seconds of the audio stream; None if the format does not declare them."""
        stream, container = self._stream, self._container
        if self._format in DECLARING_FILE and len(container.streams) == 1 and container.duration:
            return max(container.duration - (container.start_time or 0), 0) / av.time_base or None
        if self._format not in DECLARING or not stream.duration:
            return None
        if self._format == "mov" and not stream.frames:
            return None  # fragments: the header does not cover those that follow
        start = (stream.start_time or 0) if self._format == "ogg" else 0
        return float((stream.duration - start) * stream.time_base)

    def _parts(self) -> Iterator[tuple[Block, int]]:
        """Yield the samples of each frame, and silence where the clock reveals missing ones."""
        clocked = self._format not in CLOCKLESS
        kind, channels, sr = None, 1, 0
        for frame, following in _with_next(self._frames()):
            if kind != (frame.format.name, frame.layout.name, frame.sample_rate):
                kind = frame.format.name, frame.layout.name, frame.sample_rate
                channels, sr = frame.layout.nb_channels, frame.sample_rate
                self._limits.check_format(channels, sr)
                # Converts any sample format to float32 at the same rate. Interleaved, because PyAV 16.1 reads a
                # ninth plane of eight planar channels, beyond the end.
                packed = av.AudioResampler(format="flt")
            if clocked:
                yield from _silence(self._clock.place(frame.time, frame.samples / sr, following), channels, sr)
            for part in packed.resample(frame):
                yield part.to_ndarray().reshape(-1, channels), sr
        if kind and self._stream.codec_context.name in PAUSING:
            yield from _silence(self._clock.tail(), channels, sr)

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Yield the frames that can be decoded; skip damaged packets, as players do."""
        failed = 0  # since the last frame; packets after it may be tags
        try:
            for packet in self._packets:
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    head = bytes(memoryview(packet)[:TAG_BYTES])
                    failed += not any(tag in head for tag in DECLARATIONS)
                    self._failed += 1
                    self._clock.lose(_end(packet))
                    continue
                if frames:
                    self._damaged += failed
                    failed = 0
                yield from frames
        except av.FFmpegError:  # from the container: the packets after this cannot be found
            self._is_cut_short = True
        # After damage the MP4 demuxer ends without an error, although more fragments follow.
        self._is_cut_short |= self._format == "mov" and self._data.find(b"moof", self._source.furthest) >= 0


def _with_next(frames: Iterator[av.AudioFrame]) -> Iterator[tuple[av.AudioFrame, float | None]]:
    """Yield each frame with the time stamp of the following one."""
    frame = next(frames, None)
    while frame is not None:
        following = next(frames, None)
        yield frame, following.time if following else None
        frame = following


def _end(packet: av.Packet) -> float | None:
    """Return the time stamp of a packet's end, seconds."""
    return None if packet.pts is None else float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _silence(seconds: float, channels: int, sr: int) -> Iterator[tuple[Block, int]]:
    frames = round(seconds * sr)
    for start in range(0, frames, BLOCK_FRAMES):
        yield np.zeros((min(BLOCK_FRAMES, frames - start), channels), np.float32), sr


class _Source(io.BytesIO):
    """The file that FFmpeg reads. Its demuxers can search for headers endlessly; only `read` can stop them."""

    def __init__(self, data: bytes, meter: Meter) -> None:
        super().__init__(data)
        self._meter = meter
        self.furthest = 0  # end of the bytes read so far

    def read(self, size: int | None = -1) -> bytes:
        """Read; raise RecordingError if the CPU time is used up."""
        self._meter.check_time()
        data = super().read(size)
        self.furthest = max(self.furthest, self.tell())
        return data


def _open_container(source: _Source, data: bytes) -> av.container.InputContainer:
    try:
        return av.open(source, metadata_errors="ignore", options=dict(OPTIONS))
    except RecordingError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise Undecodable(
            f"The {len(data)} bytes sent are not audio that can be decoded (they begin with {_beginning(data)});"
            " send WAV, FLAC, OGG, Opus, MP3, M4A or WMA."
        ) from error


def _beginning(data: bytes) -> str:
    """Return the first bytes as a user reads them: a quoted text, or hexadecimal if they are none."""
    start = data[:8]
    return f'"{start.decode("ascii")}"' if start.isascii() and start.decode().isprintable() else start.hex(" ")


def _choose_stream(container: av.container.InputContainer, data: bytes) -> av.AudioStream:
    """Return the first audio stream that can be decoded."""
    streams = container.streams.audio
    for stream in streams:
        codec = stream.codec_context  # None without a decoder
        if codec and codec.name in CODECS and not _is_encrypted(codec) and codec.sample_rate and codec.channels:
            return stream
    # Not stream.type: PyAV 16.1 crashes the process on a type without a name.
    kinds = ", ".join(kind for kind in ("data", "subtitles", "video") if getattr(container.streams, kind)) or "no"
    names = stream_names(data) or [stream.codec_context.name for stream in streams if stream.codec_context]
    container.close()
    if streams:
        raise Undecodable(
            f"The sound is encoded as {', '.join(names) or 'unknown'}, which cannot be decoded; send WAV, FLAC,"
            " OGG, Opus, MP3, M4A or WMA without copy protection."
        )
    raise Undecodable(f"The file has {kinds} streams but no audio that can be decoded; send a recording.")


def _is_encrypted(codec: av.AudioCodecContext) -> bool:
    try:
        return codec.codec_tag in ENCRYPTED
    except UnicodeDecodeError:  # a number, as in WAV
        return False
