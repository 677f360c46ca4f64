"""Small files made to be expensive or to crash a decoder: time, memory and samples stay within their limits."""

import io
import struct
import subprocess
import sys
import textwrap
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile as sf

from preprocess import Limits, RecordingError, load
from preprocess.decode import Ffmpeg, wav
from preprocess.decode.codecs import CODECS
from preprocess.decode.mpeg import count_frames
from preprocess.limits import Meter
from tests.support.making import FFMPEG, by, missing_tools, run, sound
from tests.support.project import ROOT
from tests.support.recordings import encode, music

tools = pytest.mark.skipif(
    bool(missing_tools()), reason=f"needs Debian's packages with {', '.join(missing_tools())}"
)
IMPATIENT = Limits(max_cpu_seconds=0.5)


def one_sample_a_packet(packets: int) -> bytes:
    """Matroska: 8 bytes for each sample, and tens of microseconds for each packet."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for i in range(packets):
            packet = av.Packet(struct.pack("<h", i % 1000))
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = i // 8
            container.mux(packet)
    return file.getvalue()


EXPENSIVE = {
    "packets of one sample": one_sample_a_packet(40_000),
    "packets that do not decode": b"#!AMR\n" + b"\x7c" * (1 << 20),
    "pages that lead nowhere": b"OggS\x00\x02" * (1 << 20),
    "links without sound": (b"OggS\x00\x02" + bytes(21) + b"OggS\x00\x00" + bytes(21)) * 20_000,
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_cpu_time_is_limited(name):
    with pytest.raises(RecordingError, match=r"^The recording took more than 0\.[567]\d* s of CPU time to decode"):
        load(EXPENSIVE[name], limits=IMPATIENT)


def test_looking_for_the_length_takes_no_longer_than_decoding():
    """A FLAC file that does not declare it, of which only a second is wanted: a minute of eight channels."""
    file = io.BytesIO()
    sf.write(file, np.zeros((192_000 * 60, 8), np.int16), 192_000, format="FLAC")
    data = bytearray(file.getvalue())
    data[21] &= 0xF0  # STREAMINFO: 36 bits of total samples
    data[22:26] = bytes(4)
    with pytest.raises(RecordingError, match="of CPU time to decode"):
        load(bytes(data), seconds=1.0, limits=Limits(max_cpu_seconds=0.2))


def test_the_time_that_is_allowed_grows_with_the_sound():
    """A limit that an hour of Opus would pass on a slow machine would be none of the file's fault."""
    data = encode(music(30.0, 48000), 48000, "opus")
    load(data, limits=Limits(max_cpu_seconds=0.1))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_samples=1_000_000), "more than 1000000 samples over all channels (max_samples)"),
        (Limits(max_seconds=9), "lasts 10.0 s, the limit is 9 s"),
    ],
)
def test_samples_are_limited_over_all_channels(limits, words):
    file = io.BytesIO()
    sf.write(file, np.zeros((480_000, 8), np.int16), 48_000, format="FLAC")
    assert len(file.getvalue()) < 20_000
    with pytest.raises(RecordingError) as error:
        load(file.getvalue(), limits=limits)
    assert words in str(error.value)


@tools
@pytest.mark.parametrize(
    ("codec", "form"),
    [("aac", "m4a"), ("alac", "m4a"), ("libopus", "opus"), ("libopus", "webm"), ("aac", "mka"), ("flac", "mka")],
)
def test_eight_planar_channels_are_decoded(codec, form, tmp_path):
    """PyAV 16.1 reads a ninth plane, beyond the end; the crash cost other requests their answers."""
    code = """
        import sys
        from pathlib import Path
        from preprocess import load
        print(len(load(Path(sys.argv[1]).read_bytes()).samples))
    """
    file = tmp_path / f"surround.{form}"
    file.write_bytes(by(f"{FFMPEG}-c:a {codec} {{out}}", form, 48000, 8)(tmp_path))
    command = [sys.executable, "-c", textwrap.dedent(code), str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) / 22050 == pytest.approx(4.0, abs=0.05)


PEAK = """
    import sys
    from pathlib import Path
    from preprocess import load

    def peak():  # not getrusage, which begins with what the parent held
        return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

    load(Path(sys.argv[2]).read_bytes())
    before = peak()
    load(Path(sys.argv[1]).read_bytes())
    print(peak() - before)
"""


def peak_megabytes(data: bytes, tmp_path) -> float:
    """What a process needs more for a recording than for a short one."""
    file, short = tmp_path / "recording", tmp_path / "short"
    file.write_bytes(data)
    short.write_bytes(encode(music(2.0), 44100, "mp3"))
    command = [sys.executable, "-c", textwrap.dedent(PEAK), str(file), str(short)]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout) / 1024


def test_memory_is_the_file_and_twice_the_result(tmp_path):
    """docs/options.md states it: here 8 channels at 96 kHz for 5 minutes, 920 MB of samples."""
    file = io.BytesIO()
    with sf.SoundFile(file, "w", 96_000, 8, format="FLAC", subtype="PCM_16") as writer:
        for _ in range(30):
            writer.write(np.zeros((960_000, 8), np.int16))
    result = 300 * 22050 * 4 / 2**20
    assert peak_megabytes(file.getvalue(), tmp_path) < 2 * result + 60


def test_packets_of_one_sample_are_joined_to_blocks(tmp_path):
    limits = Limits()
    reader = Ffmpeg(one_sample_a_packet(5_000), limits, Meter(limits))
    assert [len(block) for block, _ in reader.blocks()] == [5_000]
    data = one_sample_a_packet(60_000)
    assert peak_megabytes(data, tmp_path) < 60


@tools
def test_cover_art_is_not_decoded(tmp_path):
    """8000 x 5000 points in 0.1 MB: FFmpeg decodes cover art unless its codec is not on the list."""
    from PIL import Image

    cover, out = tmp_path / "cover.png", tmp_path / "song.m4a"
    Image.new("RGB", (8_000, 5_000)).save(cover)
    mux = "ffmpeg -v error -y -i {src} -i {cover} -map 0:a -map 1:v -c:v copy -disposition:v attached_pic {out}"
    run(mux, src=sound(tmp_path), cover=cover, out=out)
    assert peak_megabytes(out.read_bytes(), tmp_path) < 60


def test_a_header_that_points_before_the_file_prints_nothing(monkeypatch):
    """The callbacks of soundfile would print a traceback to the server's log."""
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    file = io.BytesIO()
    sf.write(file, music(1.0), 44100, format="AIFF", subtype="PCM_16")
    data = file.getvalue()
    at = data.index(b"SSND") + 8
    for place in range(4, 60):
        try:
            load(data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :])
        except RecordingError:
            continue
    load(data[:at] + b"\0\0\0\1" + data[at + 4 :])
    assert not printed


def test_a_stream_of_no_known_type_is_refused():
    """PyAV 16.1 ends the process where the name of its type is asked for."""
    file = io.BytesIO()
    sf.write(file, music(1.0), 44100, format="W64", subtype="PCM_16")
    data = bytearray(file.getvalue())
    data[48] ^= 1  # in the name of the chunk `fmt`
    with pytest.raises(RecordingError, match="no audio that can be decoded"):
        load(bytes(data))


def test_false_beginnings_of_frames_are_tried_a_limited_number_of_times():
    """Each true pair among them used to begin the count anew: half a minute for 64 MB."""
    pair = b"\xff\xfb\x90\x00" + bytes(413)
    start = time.thread_time()
    count_frames((b"\xff\xfb\x90\x00" * 60_000 + 2 * pair) * 20)
    assert time.thread_time() - start < 1


def test_headers_of_endless_chunks_and_tags_are_not_followed():
    start = time.thread_time()
    assert wav.codec(b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 2_000_000) is None
    assert time.thread_time() - start < 0.2
    for data in (b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 100_000, b"ID3\x03\0\0\0\0\0\0" * 100_000):
        with pytest.raises(RecordingError, match="are not audio that can be decoded"):
            load(data, limits=IMPATIENT)


def test_decoders_are_those_of_a_list():
    assert {"aac", "alac", "opus", "wmav2", "amrnb"} <= CODECS and len(CODECS) < 70
    unknown = {name for name in CODECS if name not in av.codecs_available}
    assert not unknown


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"these are notes", '"these ar"'),
        (b"\x89PNG\r\n\x1a\n\0\0", "89 50 4e 47 0d 0a 1a 0a"),
        (b"\x1b[31mred\x1b", "1b 5b 33 31 6d 72 65 64"),
        ("größer".encode(), "67 72 c3 b6 c3 9f 65 72"),
    ],
)
def test_a_file_that_is_not_audio_is_described_without_pythons_notation(data, shown):
    with pytest.raises(RecordingError) as raised:
        load(data)
    assert f"(they begin with {shown})" in str(raised.value)


def test_libsndfiles_other_formats_are_not_opened():
    for form in ("MAT5", "SVX", "PVF", "IRCAM", "XI"):
        file = io.BytesIO()
        sf.write(file, music(1.0, channels=1), 44100, format=form, subtype="DPCM_16" if form == "XI" else "PCM_16")
        with pytest.raises(RecordingError, match="are not audio that can be decoded"):
            load(file.getvalue())
