"""Encoded recording -> mono samples at the rate that the profile asks for.

libsndfile (soundfile) reads WAV, FLAC, OGG/Vorbis, MP3 and AIFF; FFmpeg's libraries (PyAV) read what it cannot:
M4A/AAC, WMA, Opus, MP4, WebM, and what it gives up on. Both are read in blocks that are mixed down and resampled
as they come, so the memory in use does not depend on the number of channels or on the file's rate, and a header
that lies about the length cannot get past the limits.

The numbers are those of `librosa.load`, unless another resampler is asked for: float32, mean of the channels,
soxr's HQ resampler, ceil(n * sr / sr_in) samples.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

import av
import numpy as np
import numpy.typing as npt
import soundfile as sf

from preprocess.errors import RecordingError
from preprocess.resample import Resampler, Samples, soxr_hq
from preprocess.timing import Stopwatch

Block = npt.NDArray[np.float32]  # [frames, channels]

# Only formats that hold their own sound: others (SDP, HLS, concat scripts) are lists of what to fetch, from the
# server's network or from its disk. And no protocol, whatever a file asks for.
FFMPEG_OPTIONS = {
    "format_whitelist": "aac,ac3,aiff,amr,asf,caf,flac,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,ogg,wav",
    "protocol_whitelist": "none",
}
LOUDEST = 1e6  # full scale is 1; squares of much more leave float32

BLOCK_FRAMES = 1 << 16  # 1.5 s at 44.1 kHz; stays in the CPU's cache, twice as fast as all at once


@dataclass(frozen=True)
class Limits:
    """What is accepted, checked before decoding wherever the file's header tells it."""

    max_bytes: int = 64 << 20
    """Size of the encoded file, or of samples sent raw."""
    max_seconds: float = 3600.0
    """Length of the recording; an hour of mono float32 at 22 050 Hz is 317 MB."""
    max_channels: int = 8
    """7.1 surround."""
    min_sr: int = 4000
    """Hz."""
    max_sr: int = 192_000
    """Hz."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) > 0:
                raise ValueError(f"{limit.name} must be above zero, not {getattr(self, limit.name)}")


@dataclass(frozen=True)
class Waveform:
    """A decoded recording.

    Attributes
    ----------
    samples : float32 [n], mono
    sr : Hz
    duration : seconds of the whole recording, also where only its beginning was decoded
    notes : sentences about what had to be mended
    watch : what decoding, mixing down and resampling took; runs on
    """

    samples: Samples
    sr: int
    duration: float
    notes: tuple[str, ...] = ()
    watch: Stopwatch = field(default_factory=Stopwatch)


def load(
    recording: bytes | tuple[npt.NDArray, int],
    *,
    sr: int = 22050,
    seconds: float | None = None,
    limits: Limits | None = None,
    resampler: Callable[[int, int], Resampler] = soxr_hq,
) -> Waveform:
    """Decode, mix down and resample a recording.

    Parameters
    ----------
    recording : an encoded file, or (samples [n] or [n, channels], float in [-1, 1] or int16, their rate in Hz)
    sr : rate of the result, Hz
    seconds : decode only so much of the beginning (None: all)
    limits : what is accepted (None: the defaults)
    resampler : of preprocess.resample, called with both rates

    Raises
    ------
    RecordingError
        empty, not audio, no samples, only NaN or infinite samples, or beyond a limit
    """
    watch = Stopwatch()
    limits = limits or Limits()
    encoded = isinstance(recording, bytes)
    size = len(recording) if encoded else np.asarray(recording[0]).nbytes
    if encoded and not recording:
        raise RecordingError("The recording is empty (0 bytes); send the whole file.")
    if size > limits.max_bytes:
        raise RecordingError(
            f"The recording has {size} bytes, the limit is {limits.max_bytes} (max_bytes);"
            " compress it or send a part of it."
        )
    if not encoded:
        return _resampled(_Raw(*recording, limits), sr, seconds, limits, resampler, watch)
    try:
        return _resampled(_Sndfile(recording, limits), sr, seconds, limits, resampler, watch)
    except (sf.LibsndfileError, RuntimeError):  # not its format, or given up in the middle
        return _resampled(_Ffmpeg(recording, limits), sr, seconds, limits, resampler, watch)


def _resampled(
    source: _Raw | _Sndfile | _Ffmpeg,
    sr: int,
    seconds: float | None,
    limits: Limits,
    resampler: Callable[[int, int], Resampler],
    watch: Stopwatch,
) -> Waveform:
    """Read a source block by block: check, mix down, resample."""
    stream = resampler(source.sr, sr)
    wanted = math.inf if seconds is None else int(seconds * source.sr)
    most = int(limits.max_seconds * source.sr)
    taken, bad, parts = 0, 0, []
    for block in source.blocks():
        watch.lap("decode")
        mono = _downmix(block)[: int(min(wanted - taken, len(block)))]
        peak = _peak(mono)
        if not np.isfinite(peak):
            finite = np.isfinite(mono)
            bad += int(np.count_nonzero(~finite))
            mono = np.where(finite, mono, np.float32(0))
            peak = _peak(mono)
        if peak > LOUDEST:
            raise RecordingError(
                f"The recording has samples up to {peak:.3g}, full scale is 1; scale it to [-1, 1]."
            )
        taken += len(mono)
        if taken > most:
            raise _too_long(taken / source.sr, limits, at_least=True)
        watch.lap("downmix")
        parts.append(stream.resample_chunk(mono))
        watch.lap("resample")
        if taken >= wanted:
            break
    if taken == 0:
        raise RecordingError("The recording holds no samples; send a recording with sound in it.")
    if bad == taken:
        raise RecordingError(f"All {taken} samples of the recording are NaN or infinite; send finite samples.")
    parts.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    samples = _fix_length(np.concatenate(parts), math.ceil(taken * sr / source.sr))
    watch.lap("resample")

    decoded, declared = taken / source.sr, source.duration
    notes = [f"{bad} samples were NaN or infinite and were taken as silence."] if bad else []
    if taken < wanted and decoded < 0.9 * declared:
        notes.append(f"Only {decoded:.1f} s of {declared:.1f} s could be decoded; the file seems to be cut off.")
    return Waveform(samples, sr, max(decoded, declared) if taken >= wanted else decoded, tuple(notes), watch)


def _downmix(block: Block) -> Samples:
    """Mean over channels, float32 [n, channels] -> [n]; a product, 20 times faster than `mean(axis=1)`."""
    if block.shape[1] == 1:
        return block[:, 0]
    return block @ np.full(block.shape[1], 1 / block.shape[1], np.float32)


def _peak(y: Samples) -> np.float32:
    """Largest magnitude; not finite if any sample is not. Without the copies of `np.abs` and `np.isfinite`."""
    return np.maximum(y.max(initial=0), -y.min(initial=0))


def _fix_length(y: Samples, n: int) -> Samples:
    """The resampler's output may be a sample off the nominal length, as in librosa it is cut or padded."""
    return y[:n] if len(y) >= n else np.pad(y, (0, n - len(y)))


def _too_long(seconds: float, limits: Limits, at_least: bool = False) -> RecordingError:
    length = f"{'more than ' if at_least else ''}{seconds:.1f} s"
    return RecordingError(
        f"The recording lasts {length}, the limit is {limits.max_seconds:g} s (max_seconds); send a shorter part."
    )


def _check_format(channels: int, sr: int, frames: int | None, limits: Limits) -> None:
    """Refuse, before the first sample is decoded, what the header already gives away."""
    if not 1 <= channels <= limits.max_channels:
        raise RecordingError(
            f"The recording has {channels} channels, the limit is {limits.max_channels} (max_channels);"
            " send a stereo or mono mix."
        )
    if not limits.min_sr <= sr <= limits.max_sr:
        raise RecordingError(
            f"The recording's sample rate is {sr} Hz, accepted are {limits.min_sr} to {limits.max_sr} Hz"
            " (min_sr, max_sr); resample it first."
        )
    if frames is not None and frames > limits.max_seconds * sr:
        raise _too_long(frames / sr, limits)


class _Raw:
    """Samples that need no decoding."""

    def __init__(self, samples: npt.NDArray, sr: int, limits: Limits) -> None:
        samples = np.asarray(samples)
        if samples.dtype == np.int16:
            samples = samples / np.float32(32768)
        elif samples.dtype.kind != "f":
            raise RecordingError(f"Samples must be float in [-1, 1] or int16, not {samples.dtype}.")
        samples = samples.astype(np.float32, copy=False)
        if samples.ndim not in (1, 2):
            raise RecordingError(f"Samples must be [n] or [n, channels], not of shape {samples.shape}.")
        self._samples = samples.reshape(len(samples), -1) if samples.size else samples.reshape(0, 1)
        self.sr = int(sr)
        frames, channels = self._samples.shape
        _check_format(channels, self.sr, frames, limits)
        self.duration = frames / self.sr

    def blocks(self) -> Iterator[Block]:
        """Yield float32 [frames, channels]."""
        for start in range(0, len(self._samples), BLOCK_FRAMES):
            yield self._samples[start : start + BLOCK_FRAMES]


class _SoundFile(sf.SoundFile):
    """A file read from beginning to end.

    soundfile seeks after each read of a seekable file, which resets an MP3 decoder: the first frame after
    it differs. It also trusts the header's number of frames then, which a FLAC stream may leave at zero.
    """

    def seekable(self) -> bool:
        return False


class _Sndfile:
    """A file that libsndfile reads; raises LibsndfileError or RuntimeError for any other, or a damaged one."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        if b"OpusHead" in data[:64]:
            # libsndfile 1.2 gives up on some intact Opus files, and is the slower one for the others.
            raise RuntimeError("left to FFmpeg")
        self._file = _SoundFile(io.BytesIO(data))
        self.sr, frames = self._file.samplerate, self._file.frames
        # A stream whose length is not in its header is declared as (nearly) endless.
        frames = None if frames >= 1 << 62 else frames
        _check_format(self._file.channels, self.sr, frames, limits)
        self.duration = (frames or 0) / self.sr

    def blocks(self) -> Iterator[Block]:
        """Yield float32 [frames, channels]."""
        with self._file:
            while len(block := self._file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                yield block


class _Ffmpeg:
    """A file that FFmpeg's libraries read; damaged packets are left out, as players do."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._container = _open_container(data)
        codec = self._container.streams.audio[0].codec_context
        self.sr, self._channels = codec.sample_rate, codec.channels
        length = self._container.duration  # microseconds, None where the container does not say
        frames = None if length is None else int(length / av.time_base * self.sr)
        _check_format(self._channels, self.sr, frames, limits)
        self.duration = (frames or 0) / self.sr

    def blocks(self) -> Iterator[Block]:
        """Yield float32 [frames, channels]."""
        planar = av.AudioResampler(format="fltp")  # any sample format -> float32, same rate and layout
        with self._container as container:
            for packet in container.demux(audio=0):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in frames:
                    if frame.layout.nb_channels != self._channels or frame.sample_rate != self.sr:
                        raise RecordingError(
                            f"The recording changes from {self._channels} channels at {self.sr} Hz to"
                            f" {frame.layout.nb_channels} at {frame.sample_rate} Hz; send it in one format."
                        )
                    for part in planar.resample(frame):
                        yield np.ascontiguousarray(part.to_ndarray().T)


def _open_container(data: bytes) -> av.container.InputContainer:
    try:
        container = av.open(io.BytesIO(data), metadata_errors="ignore", options=FFMPEG_OPTIONS)
    except (av.FFmpegError, ValueError) as error:
        raise RecordingError(
            f"The {len(data)} bytes sent are not audio that can be decoded (they begin with {data[:8]!r});"
            " send WAV, FLAC, OGG, Opus, MP3, M4A or WMA."
        ) from error
    if not container.streams.audio or not container.streams.audio[0].codec_context.sample_rate:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no"
        container.close()
        raise RecordingError(f"The file has {kinds} streams but no audio that can be decoded; send a recording.")
    return container
