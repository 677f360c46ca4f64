"""Making recordings with the programs that people use, changing their bytes, and decoding them with ffmpeg."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

Maker = Callable[[Path], bytes]
"""Called with a folder to work in; returns the file's bytes."""

TOOLS = ("ffmpeg", "ffprobe", "sox", "lame", "flac", "opusenc", "oggenc", "mpg123")
SECONDS = 4.0
FFMPEG = "ffmpeg -v error -y -i {src} "
ID3V1 = b"TAG" + bytes(125)


@dataclass(frozen=True)
class Recording:
    """How one recording is made, and what a decoder must find in it.

    Attributes
    ----------
    exact : seconds that it must last, where the format says so to a sample; None: as long as ffmpeg decodes it
    tail : seconds that ffmpeg decodes beyond the end that the file declares
    pieces : what makes the files that were joined, to be decoded one by one; empty: ffmpeg decodes the whole
    intact : what makes the file before it was damaged; None: it is not
    begin : share of the recording that is before the damage
    lost : how many samples may be lost where the damage is, because nothing shows how many there were
    mpg123 : mpg123 decodes, because ffmpeg is less exact at this rate
    quick : whether it is among those that `make test` tries
    """

    name: str
    make: Maker
    exact: float | None = None
    tail: float = 0.0
    pieces: tuple[Maker, ...] = ()
    intact: Maker | None = None
    begin: float = 0.2
    lost: int = 0
    mpg123: bool = False
    quick: bool = False


def sound(folder: Path, sr: int = 44100, channels: int = 2, seconds: float = SECONDS, seed: int = 0) -> Path:
    """A WAV file of noise whose loudness and colour change, unlike in each channel and at each moment."""
    path = folder / f"{sr}_{channels}_{seconds:g}_{seed}.wav"
    if not path.exists():
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((round(seconds * sr), channels))
        smooth = np.cumsum(noise, axis=0)
        smooth -= np.linspace(smooth[0], smooth[-1], len(smooth))
        t = np.arange(len(noise))[:, None] / sr
        y = 0.15 * noise * (1 + np.sin(7 * t)) + 0.3 * np.sin(2 * np.pi * (200 + 40 * np.arange(channels)) * t)
        sf.write(path, (0.5 * np.clip(y + 0.2 * smooth / np.abs(smooth).max(), -1, 1)), sr, subtype="PCM_16")
    return path


def run(command: str, check: bool = True, **paths: Path) -> bytes:
    """Run a command line in which names in braces are paths, and return what it writes to its output."""
    arguments = [word.format(**paths) for word in command.split()]
    done = subprocess.run(arguments, check=check, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    return done.stdout


def by(
    command: str, suffix: str, sr: int = 44100, channels: int = 2, seconds: float = SECONDS, seed: int = 0
) -> Maker:
    """What makes a file by a command from {src} to {out}."""

    def make(folder: Path) -> bytes:
        out = folder / f"out.{suffix}"
        run(command, src=sound(folder, sr, channels, seconds, seed), out=out)
        data = out.read_bytes()
        out.unlink()
        return data

    return make


def piped(command: str, sr: int = 44100) -> Maker:
    """What makes a file by a command that writes to a pipe, so that no header can be corrected afterwards."""
    return lambda folder: run(command, src=sound(folder, sr))


def changed(make: Maker, change: Callable[[bytes], bytes]) -> Maker:
    """What makes a file and changes its bytes."""
    return lambda folder: change(make(folder))


def joined(*makers: Maker) -> Maker:
    """What makes files and joins them, as `cat` does."""
    return lambda folder: b"".join(make(folder) for make in makers)


def id3v2(size: int = 500, picture: bool = False) -> bytes:
    """A tag of the title, and if wanted of a JPEG picture of the given size."""
    title = b"TIT2" + struct.pack(">I", 6) + b"\0\0\x03Title"
    body = title
    if picture:
        image = b"\xff\xd8\xff\xe0" + np.random.default_rng(5).bytes(size)
        frame = b"\x00image/jpeg\x00\x03\x00" + image
        body += b"APIC" + struct.pack(">I", len(frame)) + b"\0\0" + frame
    body += bytes(max(0, size - len(body)))
    n = len(body)
    return b"ID3\x03\0\0" + bytes((n >> 21 & 127, n >> 14 & 127, n >> 7 & 127, n & 127)) + body


def ape(size: int = 300) -> bytes:
    """An APEv2 tag with header and footer."""
    item = struct.pack("<II", size, 0) + b"Comment\0" + b"x" * size

    def end(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, flags) + bytes(8)

    return end(0xA0000000) + item + end(0x80000000)


def without(share: float, size: int) -> Callable[[bytes], bytes]:
    """Cut some bytes out."""
    return lambda data: data[: int(share * len(data))] + data[int(share * len(data)) + size :]


def zeroed(share: float, size: int) -> Callable[[bytes], bytes]:
    """Set some bytes to zero."""
    return lambda data: data[: (at := int(share * len(data)))] + bytes(size) + data[at + size :]


def cut(share: float) -> Callable[[bytes], bytes]:
    """Keep the beginning."""
    return lambda data: data[: int(share * len(data))]


def xing(factor: float) -> Callable[[bytes], bytes]:
    """Change the number of frames that an MP3's first frame declares."""

    def change(data: bytes) -> bytes:
        at = re.search(b"Xing|Info", data).start() + 8
        frames = struct.unpack_from(">I", data, at)[0]
        return data[:at] + struct.pack(">I", round(frames * factor)) + data[at + 4 :]

    return change


def patched(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Overwrite bytes at an offset."""
    return lambda data: data[:offset] + value + data[offset + len(value) :]


def data_size(value: int) -> Callable[[bytes], bytes]:
    """Give a WAV's samples another size."""

    def change(data: bytes) -> bytes:
        at = data.index(b"data") + 4
        return data[:at] + struct.pack("<I", value) + data[at + 4 :]

    return change


def missing_tools() -> list[str]:
    """The programs that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def ffmpeg(data: bytes, folder: Path) -> tuple[np.ndarray, int]:
    """Ffmpeg's decode of the first audio stream: the mean of the channels float32 [n], and their rate in Hz."""
    path = folder / "recording"
    path.write_bytes(data)
    probe = "ffprobe -v error -select_streams a:0 -show_entries stream=sample_rate,channels -of csv=p=0 {path}"
    sr, channels = (int(value) for value in run(probe, path=path).split()[0].split(b",")[:2])
    # It fails at the end of a damaged file, behind what it could decode.
    decoded = run("ffmpeg -v error -i {path} -map 0:a:0 -c:a pcm_f32le -f f32le -", check=False, path=path)
    return np.frombuffer(decoded, np.float32).reshape(-1, channels).mean(axis=1), sr


def mpg123(data: bytes, folder: Path) -> np.ndarray:
    """mpg123's decode of a mono MP3, float32 [n]."""
    path = folder / "recording.mp3"
    path.write_bytes(data)
    return np.frombuffer(run("mpg123 -q -e f32 -s {path}", path=path), np.float32)
