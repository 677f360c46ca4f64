"""Recordings for the tests, generated and encoded here: good ones in every format, bad ones of every kind."""

import io
from fractions import Fraction

import av
import numpy as np
import soundfile as sf

SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40100 RTP/AVP 0\r\n"


def music(seconds: float = 12.0, sr: int = 44100, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Chords that change twice a second over a bass and noise bursts: float32 [n] or [n, channels]."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sr)) / sr
    y = np.zeros(len(t))
    for start in np.arange(0, seconds, 0.5):
        part = slice(int(start * sr), int((start + 0.5) * sr))
        for midi in 48 + 12 * rng.integers(0, 3) + rng.choice(12, 3, replace=False):
            for harmonic in (1, 2, 3):
                freq = 440 * 2 ** ((midi - 69) / 12) * harmonic
                if freq < 0.45 * sr:
                    y[part] += np.sin(2 * np.pi * freq * t[part] + harmonic) / harmonic
        y[part] *= np.exp(-3 * (t[part] - start))
    y += 0.5 * np.sin(2 * np.pi * 55 * t) + 0.1 * rng.standard_normal(len(t)) * (t % 0.25 < 0.03)
    y = (0.5 * y / np.abs(y).max()).astype(np.float32)
    if channels == 1:
        return y
    return np.stack([y * (0.5 + 0.5 * c / channels) for c in range(channels)], axis=1)


def encode(samples: np.ndarray, sr: int, kind: str) -> bytes:
    """Encode as wav, wav24, float, flac, ogg, mp3 (libsndfile) or m4a, wma, opus (FFmpeg)."""
    ffmpeg = {"m4a": ("ipod", "aac"), "wma": ("asf", "wmav2"), "opus": ("ogg", "libopus")}
    if kind in ffmpeg:
        return _encode_with_ffmpeg(samples, sr, *ffmpeg[kind])
    formats = {
        "wav": ("WAV", "PCM_16"),
        "wav24": ("WAV", "PCM_24"),
        "float": ("WAV", "FLOAT"),
        "flac": ("FLAC", "PCM_16"),
        "ogg": ("OGG", "VORBIS"),
        "mp3": ("MP3", "MPEG_LAYER_III"),
    }
    file = io.BytesIO()
    sf.write(file, samples, sr, format=formats[kind][0], subtype=formats[kind][1])
    return file.getvalue()


def _encode_with_ffmpeg(samples: np.ndarray, sr: int, container_format: str, codec: str) -> bytes:
    samples = samples[:, None] if samples.ndim == 1 else samples
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[1]]
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=sr, layout=layout)
        stream.bit_rate = 192_000
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T, np.float32), format="fltp", layout=layout
        )
        frame.sample_rate, frame.time_base = sr, Fraction(1, sr)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def video_without_sound() -> bytes:
    """An MP4 file with a picture and no audio stream."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def bad_recordings() -> dict[str, tuple[bytes, str]]:
    """Name -> (bytes, words that the sentence of refusal must contain)."""
    tone = music(2, 8000, 1)
    wav, flac, mp3 = (encode(tone, 8000, kind) for kind in ("wav", "flac", "mp3"))
    long_silence = np.zeros(4000 * 3700, np.int16)
    long_silence[::4000] = 1000
    long_file = io.BytesIO()
    sf.write(long_file, long_silence, 4000, format="FLAC")
    random_bytes = np.random.default_rng(1).integers(0, 256, 5000, np.uint8).tobytes()
    return {
        "empty": (b"", "empty (0 bytes)"),
        "text": (b"This is not a song, it is a letter.\n" * 40, "not audio"),
        "html": (b"<!DOCTYPE html><html><body>404</body></html>", "not audio"),
        "random bytes": (random_bytes, "not audio"),
        "script that opens a network port": (SDP, "not audio"),
        "script that names another file": (b"ffconcat version 1.0\nfile README.md\n", "not audio"),
        "playlist": (b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/song.ts\n", "not audio"),
        "far too loud": (encode(np.full(8000, 1e30, np.float32), 8000, "float"), "up to 1e+30, full scale is 1"),
        "picture": (b"\x89PNG\r\n\x1a\n" + bytes(200), "audio"),
        "archive": (b"PK\x03\x04" + bytes(300), "not audio"),
        "zeros": (bytes(4096), "not audio"),
        "video without sound": (video_without_sound(), "no audio"),
        "WAV cut in its header": (wav[:20], "not audio"),
        "WAV without samples": (wav[:44], "no samples"),
        "FLAC cut after its header": (flac[:60], "not audio"),
        "MP3 cut in its first frame": (mp3[:60], "not audio"),
        "M4A cut in the middle": (encode(tone, 8000, "m4a")[:2000], "not audio"),
        "only NaN": (encode(np.full(8000, np.nan, np.float32), 8000, "float"), "NaN or infinite"),
        "only infinity": (encode(np.full(8000, np.inf, np.float32), 8000, "float"), "NaN or infinite"),
        "silence": (encode(np.zeros(16000, np.float32), 8000, "wav"), "silent"),
        "too short": (encode(tone[:800], 8000, "wav"), "0.100 s; at least 0.5 s"),
        "16 channels": (encode(np.repeat(tone[:, None], 16, 1), 8000, "wav"), "16 channels, the limit is 8"),
        "1 kHz": (encode(tone, 1000, "wav"), "1000 Hz, the limits are 4000 and 192000"),
        "384 kHz": (encode(tone, 384_000, "wav"), "384000 Hz"),
        "more than an hour": (long_file.getvalue(), "3700.0 s, the limit is 3600 s"),
    }
