"""Decoding, mixing down and resampling against librosa.load, and every refusal."""

import io

import librosa
import numpy as np
import pytest
import soundfile as sf

import preprocess
from preprocess import Limits, RecordingError, load
from tests.support.recordings import bad_recordings, encode, music

BAD = bad_recordings()


@pytest.mark.parametrize("kind", ["wav", "wav24", "float", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("sr", "channels"), [(44100, 2), (22050, 1), (48000, 6), (8000, 1), (96000, 2)])
def test_equals_librosa_load(kind, sr, channels):
    if kind == "mp3" and (sr > 48000 or channels > 2):
        pytest.skip("MP3 knows neither")
    data = encode(music(3.0, sr, channels), sr, kind)
    expected, _ = librosa.load(io.BytesIO(data), sr=22050)
    wave = load(data)
    assert wave.samples.dtype == np.float32
    assert wave.samples.shape == expected.shape
    np.testing.assert_allclose(wave.samples, expected, atol=2e-6)
    assert wave.duration == pytest.approx(sf.info(io.BytesIO(data)).duration, abs=1e-6)


@pytest.mark.parametrize("seconds", [1.0, 2.5, 60.0])
def test_first_seconds_equal_librosa_load_with_duration(seconds):
    data = encode(music(8.0), 44100, "mp3")
    expected, _ = librosa.load(io.BytesIO(data), sr=22050, duration=seconds)
    wave = load(data, seconds=seconds)
    np.testing.assert_allclose(wave.samples, expected, atol=2e-6)
    assert wave.duration == pytest.approx(8.0, abs=0.1)  # of the whole recording


@pytest.mark.parametrize("kind", ["m4a", "wma", "opus"])
@pytest.mark.parametrize("channels", [1, 2])
def test_lossy_formats_of_ffmpeg_and_opus_keep_the_sound(kind, channels):
    original = music(10.0, 48000, channels)
    wave = load(encode(original, 48000, kind))
    expected = load((original, 48000)).samples
    assert wave.duration == pytest.approx(10.0, abs=0.1) == len(wave.samples) / 22050
    assert not wave.notes
    # An encoder's delay of some milliseconds is not the decoder's fault: compare at the best alignment.
    lag = np.argmax(np.correlate(wave.samples[:30000], expected[5000:20000], "valid")) - 5000
    start = 6000
    part = wave.samples[start + lag : start + lag + 40000]
    assert np.corrcoef(part, expected[start : start + 40000])[0, 1] > 0.99


def test_5_1_m4a_is_mixed_down():
    wave = load(encode(music(2.0, 44100, 6), 44100, "m4a"))
    expected = load((music(2.0, 44100, 6), 44100)).samples
    # AAC cuts the low-frequency channel, an eighth of the sum, at 120 Hz.
    assert np.std(wave.samples) == pytest.approx(np.std(expected), rel=0.2)


def test_samples_in_memory_equal_the_encoded_file():
    samples = music(2.0)
    np.testing.assert_array_equal(load((samples, 44100)).samples, load(encode(samples, 44100, "float")).samples)


def test_lowest_memory_path_is_the_exact_one():
    """Blocks that are resampled one by one give what one call gives."""
    samples = music(20.0, 44100, 1)
    expected = librosa.resample(samples, orig_sr=44100, target_sr=22050, res_type="soxr_hq")
    np.testing.assert_allclose(load((samples, 44100)).samples, expected, atol=1e-7)


@pytest.mark.parametrize("name", BAD)
def test_refusals_are_one_sentence_with_the_value(name):
    data, words = BAD[name]
    with pytest.raises(RecordingError) as error:
        preprocess.prepare(data)
    message = str(error.value)
    assert words in message
    assert message.endswith(".") and "\n" not in message and len(message) < 220


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_bytes=1000), "limit is 1000 (max_bytes)"),
        (Limits(max_seconds=1.5), "limit is 1.5 s (max_seconds)"),
        (Limits(max_channels=1), "limit is 1 (max_channels)"),
        (Limits(min_sr=48000), "the limits are 48000 and"),
        (Limits(max_sr=22050), "and 22050 Hz"),
    ],
)
def test_each_limit_is_configurable_and_named(limits, words):
    data = encode(music(2.0), 44100, "wav")
    load(data)
    with pytest.raises(RecordingError) as error:
        load(data, limits=limits)
    assert words in str(error.value)


def test_a_limit_must_be_positive():
    with pytest.raises(ValueError, match="max_seconds must be above zero, not 0"):
        Limits(max_seconds=0)


def test_a_header_that_lies_about_the_length_does_not_get_past_the_limit():
    """A FLAC header with 'unknown' (0) total samples."""
    data = bytearray(encode(music(6.0, 8000, 1), 8000, "flac"))
    data[21] &= 0xF0  # STREAMINFO: 36 bits of total samples
    data[22:26] = bytes(4)
    with pytest.raises(RecordingError, match="more than .* s, the limit is 2 s"):
        load(bytes(data), limits=Limits(max_seconds=2))


def test_a_recording_cut_off_in_the_middle_gives_what_is_there():
    for kind in ("mp3", "wav", "flac", "ogg"):
        data = encode(music(8.0), 44100, kind)
        wave = load(data[: len(data) // 2])
        assert 2.5 < len(wave.samples) / wave.sr < 5.5, kind
        if kind in ("mp3", "flac"):  # the header declares the original length
            assert wave.notes[0].startswith("Only ") and "seems to be cut off" in wave.notes[0]


def test_what_libsndfile_gives_up_on_is_left_to_ffmpeg(monkeypatch):
    """An error in the middle of a file must not silently shorten the recording."""
    data = encode(music(6.0), 44100, "flac")
    expected = load(data).samples

    def give_up(self):
        yield np.zeros((100, 2), np.float32), 44100
        raise preprocess.decode.Incomplete

    monkeypatch.setattr(preprocess.decode.Sndfile, "blocks", give_up)
    np.testing.assert_allclose(load(data).samples, expected, atol=1e-6)


def test_single_bad_samples_become_silence_with_a_note():
    samples = music(2.0, 22050, 1)
    samples[100:103] = np.nan, np.inf, -np.inf
    wave = load((samples, 22050))
    assert np.isfinite(wave.samples).all()
    assert wave.notes == ("3 samples were NaN or infinite and were replaced by silence.",)


def test_int16_samples_are_scaled():
    samples = music(1.0, 22050, 1)
    np.testing.assert_allclose(load(((samples * 32768).astype(np.int16), 22050)).samples, samples, atol=1e-4)
    with pytest.raises(RecordingError, match="not uint8"):
        load((samples.astype(np.uint8), 22050))


def test_raw_samples_are_held_to_the_same_number_of_bytes():
    with pytest.raises(RecordingError, match="88200 bytes, the limit is 80000"):
        load((music(1.0, 22050, 1), 22050), limits=Limits(max_bytes=80_000))


@pytest.mark.parametrize("kind", ["flac", "m4a"])
def test_damage_in_the_middle_costs_only_what_is_damaged(kind):
    data = bytearray(encode(music(10.0), 44100, kind))
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    assert len(load(bytes(data)).samples) / 22050 > 9


def test_array_of_a_wrong_shape_is_refused():
    with pytest.raises(RecordingError, match=r"not of shape \(1, 2, 3\)"):
        load((np.zeros((1, 2, 3), np.float32), 22050))
