"""What public bug reports describe, made anew: cut short in silence, estimated, with gaps, encrypted."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from preprocess import Limits, RecordingError, load, prepare, prepare_speech
from preprocess.decode.clock import Clock
from tests.support.making import FFMPEG, by, id3v2, missing_tools, piped, run, sound
from tests.support.recordings import encode, music

tools = pytest.mark.skipif(
    bool(missing_tools()), reason=f"needs Debian's packages with {', '.join(missing_tools())}"
)


def seconds(wave) -> float:
    return len(wave.samples) / wave.sr


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("field")


@tools
@pytest.mark.parametrize(
    ("name", "make"),
    {
        "mp3 piped from lame": piped("lame --quiet -V 2 {src} -"),
        "raw aac": by(f"{FFMPEG}-c:a aac {{out}}", "aac"),
        "webm from 20 s": by(f"{FFMPEG}-c:a libopus -output_ts_offset 20 {{out}}", "webm", 48000),
        "two mp3s": lambda folder: 2 * by("lame --quiet -b 128 {src} {out}", "mp3", seconds=2.0)(folder),
        "two oggs": lambda folder: 2 * by("oggenc -Q -o {out} {src}", "ogg", seconds=2.0)(folder),
    }.items(),
)
def test_the_length_is_that_of_the_whole_where_only_the_beginning_is_decoded(name, make, folder):
    wave = load(make(folder), seconds=1.0)
    assert seconds(wave) == 1.0
    assert wave.duration == pytest.approx(4.0, abs=0.12)  # an encoder's delay, and its last frame, twice
    assert not wave.notes


@tools
def test_an_estimate_neither_refuses_nor_accuses(folder):
    """The first frames of a variable bit rate are small, so the file's size suggests too long a sound."""
    quiet = folder / "quiet.wav"
    y, sr = sf.read(sound(folder, 22050, 1, seconds=12.0))
    y[: 2 * sr] = 0
    sf.write(quiet, y, sr)
    mp3 = run("lame --quiet -V 4 {src} -", src=quiet)
    out = folder / "quiet.aac"
    run(f"{FFMPEG}-c:a aac {{out}}", src=quiet, out=out)
    for data in (mp3, out.read_bytes()):
        wave = load(data, limits=Limits(max_seconds=12.5))
        assert seconds(wave) == pytest.approx(12.0, abs=0.15) and not wave.notes


@tools
def test_a_declared_end_that_is_far_from_the_last_sample_is_not_believed(folder):
    """The chunk `fact` of ADPCM, and the duration of an M4A's track, with half of the correct values."""
    wav = by("sox {src} -e ms-adpcm {out}", "wav", 8000, 1)(folder)
    at = wav.index(b"fact") + 8
    m4a = by(f"{FFMPEG}-c:a aac -use_editlist 0 {{out}}", "m4a")(folder)
    head = m4a.index(b"mdhd") + 20
    for data, place, order in ((wav, at, "<I"), (m4a, head, ">I")):
        declared = struct.unpack_from(order, data, place)[0]
        wrong = data[:place] + struct.pack(order, declared // 2) + data[place + 4 :]
        assert seconds(load(wrong)) == pytest.approx(4.0, abs=0.3)


@tools
@pytest.mark.parametrize("form", ["webm", "mka"])
def test_silence_takes_the_place_of_packets_that_are_missing(form, folder):
    """As recorders of calls leave it that send nothing in a pause: the second tone stays where it was."""
    sr = 48000
    y = np.zeros(6 * sr, np.float32)
    for start in (0.0, 4.0):
        t = np.arange(round(1.5 * sr)) / sr
        y[round(start * sr) :][: len(t)] = 0.5 * np.sin(2 * np.pi * 440 * t)
    source, out = folder / "calls.wav", folder / f"dtx.{form}"
    sf.write(source, y, sr)
    drop = "noise=drop=between(n\\,90\\,180)"  # packets of 20 ms: 1.8 to 3.6 s
    run(f"ffmpeg -v error -y -i {{src}} -c:a libopus -bsf:a {drop} {{out}}", src=source, out=out)
    wave = load(out.read_bytes(), sr=sr)
    assert seconds(wave) == pytest.approx(6.0, abs=0.02)
    loud = np.flatnonzero(np.abs(wave.samples[2 * sr :]) > 0.25) + 2 * sr
    assert loud[0] / sr == pytest.approx(4.0, abs=0.01)
    assert len(wave.notes) == 1 and re.match(r"Silence fills a gap of 1\.8\d s", wave.notes[0])


@tools
def test_pauses_that_an_amr_encoder_describes_last_as_long_as_they_did(folder):
    """Descriptors of silence (type 8) and frames without data (type 15) do not decode; each is 20 ms."""
    data = by("sox {src} {out}", "amr-nb", 8000, 1)(folder)
    sizes = {0: 13, 1: 14, 2: 16, 3: 18, 4: 20, 5: 21, 6: 27, 7: 32}  # 3GPP TS 26.101, with the header
    frames, position = [], 6
    while position < len(data):
        size = sizes[data[position] >> 3 & 15]
        frames.append(data[position : position + size])
        position += size
    whole = load(data, sr=8000)
    pause = [b"\x44" + bytes(5)] + 49 * [b"\x7c"]
    wave = load(b"".join([data[:6], *frames[:60], *pause, *frames[110:], *pause]), sr=8000)
    assert len(wave.samples) == 160 * (len(frames) + 50)
    assert "Silence fills 2 gaps" in wave.notes[0]
    tail = slice(160 * 120, 160 * len(frames))
    assert np.corrcoef(wave.samples[tail], whole.samples[tail])[0, 1] > 0.95


def test_a_gap_beyond_the_limit_is_a_clock_that_was_set_anew():
    clock = Clock(longest=100)
    assert clock.place(5.0, 1.0) == 0
    assert clock.place(5000.0, 1.0) == 0 and clock.position == 2
    assert clock.place(5001.5, 1.0) == 0.5
    assert clock.notes() == (
        "Silence fills a gap of 0.50 s where packets are missing or cannot be decoded.",
        "The time stamps jump by 4994 s; the sound before and after was joined.",
    )


def test_time_stamps_that_go_back_or_are_wrong_once_fill_nothing():
    clock = Clock(longest=100)
    assert clock.place(5.0, 1.0) == 0
    assert clock.place(2.0, 1.0) == 0 and clock.place(3.5, 1.0) == 0.5  # another clock, with a gap of its own
    assert clock.place(40.0, 1.0, following=5.5) == 0 and clock.place(5.5, 1.0) == 0
    late = Clock(longest=100, origin=0.0)  # the first packets are missing
    assert late.place(2.0, 1.0) == 2.0
    unstamped = Clock(longest=100)
    assert unstamped.place(None, 1.0) == 0 and unstamped.place(1.0, 1.0) == 0 and unstamped.place(5.0, 1.0) == 3.0


@tools
def test_damage_in_an_mp3_gets_a_note_and_no_silence(folder):
    """Its time stamps count packets, also those that hold no sound; libsndfile ends there without an error."""
    data = by("lame --quiet -V 2 {src} {out}", "mp3", seconds=12.0)(folder)
    at = int(0.05 * len(data))
    wave = load(data[:at] + data[at + 300 :])
    assert seconds(wave) == pytest.approx(12.0, abs=0.25)
    load(
        data[:at] + data[at + 300 :], limits=Limits(max_seconds=12.2)
    )  # what libsndfile read first does not count
    assert len(wave.notes) == 1 and re.search(
        "damaged packet.* could not be decoded; the sound before and after was joined", wave.notes[0]
    )


@tools
def test_what_is_missing_at_the_beginning_is_silence_too(folder):
    ogg = by("opusenc --quiet {src} {out}", "opus", 48000, seconds=6.0)(folder)
    pages = [page.start() for page in re.finditer(b"OggS", ogg)]
    flac = bytearray(by("flac -s -f -o {out} {src}", "flac", seconds=6.0)(folder))
    at = len(flac) // 20
    flac[at : at + 40] = bytes(40)
    for data in (ogg[: pages[2]] + ogg[pages[3] :], bytes(flac)):
        wave = load(data)
        assert seconds(wave) == pytest.approx(6.0, abs=0.01)
        assert wave.notes[0].startswith("Silence fills a gap")


@tools
def test_a_fragmented_mp4_that_is_damaged_says_that_the_rest_is_lost(folder):
    fragments = "-c:a aac -movflags empty_moov+default_base_moof -frag_duration 500000 {out}"
    data = by(FFMPEG + fragments, "mp4", seconds=6.0)(folder)
    assert not load(data).notes
    at = len(data) // 2
    assert load(data[:at] + data[at + 300 :]).notes[0].startswith("The file is damaged: everything after")


@tools
def test_flac_with_a_wrong_total_or_joined_to_another_format_is_read_to_its_end(folder):
    flac = by("flac -s -f -o {out} {src}", "flac")(folder)
    fields = int.from_bytes(flac[21:26], "big")  # 36 bits of total samples
    for factor in (0, 0.3, 0.9):
        total = round((fields & (1 << 36) - 1) * factor)
        wrong = flac[:21] + (fields >> 36 << 36 | total).to_bytes(5, "big") + flac[26:]
        assert seconds(load(wrong)) == 4.0
    assert load(flac[:21] + (fields >> 36 << 36).to_bytes(5, "big") + flac[26:], seconds=1.0).duration == 4.0
    mono = by(f"{FFMPEG}-c:a flac {{out}}", "flac", 48000, 1)(folder)
    joined = load(flac + mono, sr=48000)
    assert seconds(joined) == 8.0 and not joined.notes
    np.testing.assert_allclose(joined.samples[-192000:], load(mono, sr=48000).samples, atol=1e-6)


@tools
def test_mp3_in_free_format_is_decoded(folder):
    data = by("lame --quiet --freeformat -b 400 {src} {out}", "mp3")(folder)
    for tagged in (data, id3v2() + data):
        assert seconds(load(tagged)) == 4.0
        assert load(tagged, seconds=1.0).duration == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize(("share", "noted"), [(1.0, False), (0.92, True)])
def test_a_wav_that_is_cut_off_says_so(share, noted):
    data = encode(music(6.0), 44100, "wav")
    assert ("cut off" in "".join(load(data[: int(share * len(data))]).notes)) == noted


@tools
def test_ten_minutes_as_an_encoder_rounds_them_are_ten_minutes(folder):
    data = by(f"{FFMPEG}-c:a libopus {{out}}", "opus", 48000)(folder)
    wave = load(data, limits=Limits(max_seconds=3.95))
    assert seconds(wave) == pytest.approx(4.0, abs=0.01)
    with pytest.raises(RecordingError, match=r"lasts 4\.0 s, the limit is 3\.9 s"):
        load(data, limits=Limits(max_seconds=3.9))


@pytest.mark.parametrize(("excess", "refused"), [(0.09, False), (0.1, True)])
def test_a_refusal_never_names_the_limit_as_the_length(excess, refused):
    recording = np.ones(round((600 + excess) * 4000), np.float32) * 0.1, 4000
    if refused:
        with pytest.raises(RecordingError, match=r"lasts 600\.1 s, the limit is 600 s"):
            load(recording, limits=Limits(max_seconds=600))
    else:
        load(recording, limits=Limits(max_seconds=600))


def test_channels_that_cancel_get_a_note():
    y = music(2.0, channels=1)
    noise = np.random.default_rng(0).uniform(-1, 1, len(y)).astype(np.float32) / 32768
    for gain, noted in ((-1.0, True), (-0.9, True), (-0.5, False), (0.0, False), (1.0, False)):
        wave = load((np.stack([y, gain * y + noise], axis=1), 44100))
        assert ("cancel each other" in " ".join(wave.notes)) == noted, gain
    assert not load((np.zeros((8000, 2), np.float32), 8000)).notes


@tools
def test_the_first_stream_that_has_a_decoder_is_taken(folder):
    """Apple's cameras put a track in APAC before the one in AAC."""
    two = "ffmpeg -v error -y -i {src} -map 0:a -map 0:a -c:a:0 alac -c:a:1 aac {out}"
    data = by(two, "mov")(folder).replace(b"alac", b"apac")
    expected = load(by(f"{FFMPEG}-c:a aac {{out}}", "mov")(folder))
    np.testing.assert_allclose(load(data).samples, expected.samples, atol=1e-6)
    video = "-f lavfi -i testsrc=s=64x64:r=5:d=2 -map 1:v -map 0:a -c:v mpeg4 "
    for pictures in ("", video):
        with pytest.raises(
            RecordingError, match=r"^The sound is encoded as apac, which cannot be decoded; send WAV"
        ):
            load(by(f"{FFMPEG}{pictures}-c:a alac {{out}}", "mov")(folder).replace(b"alac", b"apac"))


@tools
def test_a_decoder_that_is_not_listed_is_not_used(folder):
    with pytest.raises(RecordingError, match=r"^The sound is encoded as A_TRUEHD, which cannot be decoded"):
        load(by(f"{FFMPEG}-c:a truehd -strict -2 {{out}}", "mka", 48000)(folder))


@tools
def test_a_stream_whose_header_is_damaged_is_refused_as_such(folder):
    data = bytearray(by(f"{FFMPEG}-c:a libvorbis {{out}}", "mka")(folder))
    at = len(data) // 20
    data[at : at + 300] = bytes(300)
    with pytest.raises(RecordingError, match=r"^The sound is encoded as A_VORBIS, which cannot be decoded"):
        load(bytes(data))


def header(data: bytes, tag: int, bits: int) -> bytes:
    at = data.index(b"fmt ") + 8
    return data[:at] + struct.pack("<H", tag) + data[at + 2 : at + 14] + struct.pack("<H", bits) + data[at + 16 :]


@tools
@pytest.mark.parametrize("tag", ["drms", "enca"])
def test_encrypted_sound_is_refused_by_its_name(tag, folder):
    data = by(f"{FFMPEG}-c:a aac {{out}}", "m4a")(folder).replace(b"mp4a", tag.encode())
    with pytest.raises(RecordingError, match=rf"^The sound is encoded as {tag}, which cannot be decoded"):
        load(data)


@pytest.mark.parametrize(
    ("tag", "bits", "words"),
    [
        (3, 16, "WAV format 0x0003 with 16 bits"),  # half floats
        (0x1234, 16, "WAV format 0x1234 with 16 bits"),
        (0x2001, 16, "None of the"),  # DTS
        (0x00FF, 16, "None of the"),  # AAC
    ],
)
def test_wav_of_a_codec_that_is_not_decoded_is_refused_by_its_number(tag, bits, words):
    data = header(encode(music(1.0), 44100, "wav"), tag, bits)
    with pytest.raises(RecordingError, match=words) as error:
        load(data)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_a_wav_whose_size_was_never_written_is_read_to_its_end():
    data = encode(music(4.0, 16000, 1), 16000, "wav")
    at = data.index(b"data") + 4
    wave = load(data[:at] + bytes(4) + data[at + 4 :], sr=16000)
    np.testing.assert_array_equal(wave.samples, load(data, sr=16000).samples)
    assert wave.notes == ("The WAV header declares 0 bytes of samples; the file was read to its end.",)


@tools
def test_a_recording_that_changes_its_rate_keeps_its_pitch_and_length(folder):
    """As ffmpeg does: what follows is resampled. Two tones of 440 Hz, 44.1 and 22.05 kHz."""
    joined = b""
    for sr in (44100, 22050):
        source = folder / f"tone{sr}.wav"
        sf.write(source, 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * sr) / sr), sr)
        joined += run("lame --quiet -t -b 64 {src} -", src=source)
    wave = load(joined)
    assert seconds(wave) == pytest.approx(4.0, abs=0.2)
    for part in (wave.samples[10000:30000], wave.samples[-30000:-10000]):
        peak = np.argmax(np.abs(np.fft.rfft(part * np.hanning(len(part))))) * 22050 / len(part)
        assert peak == pytest.approx(440, abs=2)
    with pytest.raises(RecordingError, match="sample rate is 22050 Hz, the limits are 32000 and"):
        load(joined, limits=Limits(min_sr=32000))


def test_a_damaged_link_of_a_chain_does_not_spoil_the_others():
    ogg = encode(music(2.0), 44100, "ogg")
    broken = bytearray(encode(music(2.0, seed=1), 44100, "ogg"))
    broken[40:4000] = bytes(3960)
    wave = load(ogg + bytes(broken))
    assert seconds(wave) == pytest.approx(2.0, abs=0.01)
    assert wave.notes == ("A part of the recording could not be decoded and was skipped.",)


@tools
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_a_first_frame_that_declares_too_much_is_not_believed(share):
    """An MP3's frames are counted: what is declared beyond them neither refuses nor lengthens the recording."""
    data = encode(music(4.0), 44100, "mp3")
    at = re.search(b"Xing|Info", data).start() + 8
    data = data[:at] + struct.pack(">I", 10 * struct.unpack_from(">I", data, at)[0]) + data[at + 4 :]
    data = data[: int(share * len(data))]
    wave = load(data, limits=Limits(max_seconds=5))
    assert seconds(wave) == pytest.approx(4 * share, abs=0.15)
    assert len(wave.notes) == 1 and "s of 40" in wave.notes[0]
    assert load(data, seconds=1.0).duration == pytest.approx(4 * share, abs=0.15)


@tools
def test_notes_are_about_the_decoded_part(folder):
    """Of a recording with a gap in its middle, of which only the beginning is decoded."""
    out = folder / "gap.webm"
    source = sound(folder, 48000, 1, seconds=6.0)
    drop = "noise=drop=between(n\\,150\\,170)"
    run(f"ffmpeg -v error -y -i {{src}} -c:a libopus -bsf:a {drop} {{out}}", src=source, out=out)
    data = out.read_bytes()
    assert "Silence fills a gap" in " ".join(load(data, seconds=4.0).notes)
    assert not load(data, seconds=0.5).notes


@tools
def test_profiles_use_all_of_a_recording_that_was_cut_short(folder):
    """Through `prepare`, as a request goes: more slices than before, and no note."""
    short = by("lame --quiet -b 128 {src} {out}", "mp3", seconds=12.0)(folder)
    prepared = prepare(2 * short, "ccmusic")
    assert prepared.duration == pytest.approx(24.1, abs=0.1) and len(prepared.rows) == 2 and not prepared.notes
    assert prepare_speech(2 * short).frames == pytest.approx(24.1 * 50, abs=6)
    first = prepare(4 * short, "article-a")
    assert first.duration == pytest.approx(48.2, abs=0.2)
