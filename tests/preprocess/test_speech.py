"""Recording -> rows of the speech network: frames, normalisation, windows, padding, notes, refusals."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import preprocess
from preprocess import Enhancement, Limits, RecordingError, prepare_speech
from preprocess.enhance import enhance
from preprocess.speech import MAX_ROW_FRAMES, Window
from systems.lengths import BUCKETS, COARSE_BUCKETS, CONTEXT, SR, WINDOW, frames_of, samples_of
from tests.support.recordings import bad_recordings, encode, music

BAD = bad_recordings()
BAD["more than an hour"] = (BAD["more than an hour"][0], "3700.0 s, the limit is 600 s (max_seconds)")


def noise(samples: int, scale: float = 0.1, offset: float = 0.0) -> np.ndarray:
    return (offset + scale * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


def conv_frames(n: int) -> int:
    """Outputs of the network's seven convolutions."""
    for kernel, stride in [(10, 5)] + 4 * [(3, 2)] + 2 * [(2, 2)]:
        n = (n - kernel) // stride + 1
    return n


def layer_norm(y: np.ndarray) -> np.ndarray:
    """The official normalisation, in float64."""
    return torch.nn.functional.layer_norm(torch.from_numpy(y).double(), (len(y),)).numpy()


@pytest.mark.parametrize(
    ("samples", "frames"), [(400, 1), (719, 1), (720, 2), (15_999, 49), (16_000, 49), (480_000, 1499)]
)
def test_frames_are_the_networks(samples, frames):
    prepared = prepare_speech((noise(samples), SR))
    assert prepared.frames == frames == conv_frames(samples) == frames_of(samples)
    assert prepared.windows == (Window(0, 0, frames),)
    assert prepared.lengths.tolist() == [[samples_of(frames)]]
    assert conv_frames(samples_of(frames)) == frames and conv_frames(samples_of(frames) - 1) == frames - 1


def test_less_than_a_frame_is_refused():
    with pytest.raises(RecordingError, match=r"lasts 24\.9 ms; at least 25 ms are needed"):
        prepare_speech((noise(399), SR))


@pytest.mark.parametrize(("scale", "offset"), [(0.1, 0.0), (0.002, 0.0), (0.3, -0.2), (0.001, 0.7)])
def test_normalisation_is_layer_norm_over_the_recording(scale, offset):
    y = noise(50_123, scale, offset)
    prepared = prepare_speech((y, SR))
    length = int(prepared.lengths[0, 0])
    assert prepared.wav.dtype == np.float32 and prepared.lengths.dtype == np.int64
    np.testing.assert_allclose(prepared.wav[0, :length], layer_norm(y)[:length], atol=1e-6)
    assert not prepared.wav[0, length:].any()


@pytest.mark.parametrize("seconds", [30.0, 30.52, 30.58, 40.0, 61.7, 599.99])
def test_windows_keep_every_frame_once_and_have_context(seconds):
    y = noise(int(seconds * SR))
    prepared = prepare_speech((y, SR))
    expected = layer_norm(y)
    kept = [np.arange(window.start, window.stop) for window in prepared.windows]
    np.testing.assert_array_equal(np.concatenate(kept), np.arange(conv_frames(len(y))))
    assert len(prepared.windows) == (1 if seconds < 30.55 else int(np.ceil(prepared.frames / 978)))
    if len(kept) > 1:
        assert max(map(len, kept)) <= 978 and max(map(len, kept)) - min(map(len, kept)) <= 1
    for window, row, (length,) in zip(prepared.windows, prepared.wav, prepared.lengths, strict=True):
        last = window.first + conv_frames(int(length))
        assert window.first == max(0, window.start - CONTEXT)
        assert last == min(prepared.frames, window.stop + CONTEXT)
        begin = window.first * 320
        np.testing.assert_allclose(row[:length], expected[begin : begin + int(length)], atol=1e-5)
        assert not row[length:].any()
    # So much is computed more than once or for nothing.
    assert len(kept) == 1 or prepared.wav.size < 1.4 * len(y)


def test_a_row_is_padded_by_no_more_than_a_quarter():
    assert list(BUCKETS) == sorted(set(BUCKETS)) and all((bucket - 400) % 320 == 0 for bucket in BUCKETS)
    assert BUCKETS[0] <= 0.5 * SR and frames_of(BUCKETS[-1]) >= 1499
    for frames in range(frames_of(SR // 2), 1499 + 1):
        samples = samples_of(frames)
        bucket = min(bucket for bucket in BUCKETS if bucket >= samples)
        assert bucket <= 1.25 * samples
        if frames % 100 == 0:
            assert prepare_speech((noise(samples), SR)).wav.shape == (1, bucket)
    assert prepare_speech((noise(3000), SR)).wav.shape == (1, BUCKETS[0])


@pytest.mark.parametrize("seconds", [0.025, 0.9, 1.31, 4.99, 10.2, 21.7, 30.5, 30.58, 47.3, 599.99])
def test_coarse_buckets_change_the_padding_only(seconds):
    y = noise(int(seconds * SR))
    fine, coarse = prepare_speech((y, SR)), prepare_speech((y, SR), buckets=COARSE_BUCKETS)
    assert coarse.windows == fine.windows and coarse.wav.shape[1] in COARSE_BUCKETS
    np.testing.assert_array_equal(coarse.lengths, fine.lengths)
    width = fine.wav.shape[1]
    np.testing.assert_array_equal(coarse.wav[:, :width], fine.wav)
    assert not coarse.wav[:, width:].any()


def test_coarse_buckets_are_some_of_the_fine_ones_and_fit_whatever_those_fit():
    assert set(COARSE_BUCKETS) < set(BUCKETS) and list(COARSE_BUCKETS) == sorted(COARSE_BUCKETS)
    assert COARSE_BUCKETS[-1] == BUCKETS[-1] == samples_of(MAX_ROW_FRAMES)
    assert samples_of(WINDOW - 10) in COARSE_BUCKETS  # the windows of a long recording are not padded further
    steps = itertools.pairwise(COARSE_BUCKETS)
    assert all(longer <= 2.2 * shorter for shorter, longer in steps)


def test_ten_minutes_fit_into_a_batch_and_more_is_refused():
    prepared = prepare_speech((noise(600 * 4000), 4000))
    assert len(prepared.wav) == len(prepared.windows) == 31
    assert prepared.wav.shape[1] == samples_of(1078) and prepared.wav.shape[1] in BUCKETS
    with pytest.raises(RecordingError, match=r"lasts 600\.1 s, the limit is 600 s \(max_seconds\)"):
        prepare_speech((noise(4000 * 6001 // 10), 4000))


def test_three_hours_are_refused_before_decoding(monkeypatch):
    """By the header: total samples of a FLAC file, 36 bits."""
    data = bytearray(encode(music(1.0, 8000, 1), 8000, "flac"))
    data[21] &= 0xF0
    data[22:26] = (3 * 3600 * 8000).to_bytes(4, "big")

    def decode(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(preprocess.decode.Sndfile, "blocks", decode)
    with pytest.raises(RecordingError, match=r"lasts 10800\.0 s, the limit is 600 s"):
        prepare_speech(bytes(data))


def test_limits_are_those_asked_for():
    with pytest.raises(RecordingError, match="the limit is 2 s"):
        prepare_speech((noise(3 * SR), SR), limits=Limits(max_seconds=2))
    assert prepare_speech((noise(700 * 4000), 4000), limits=Limits(max_seconds=700)).frames == 34_999


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("silence", "too short")])
def test_refusals_are_one_sentence_with_the_value(name):
    data, words = BAD[name]
    with pytest.raises(RecordingError) as error:
        prepare_speech(data)
    message = str(error.value)
    assert words in message
    assert message.endswith(".") and "\n" not in message and len(message) < 220


@pytest.mark.parametrize(
    ("y", "silent"),
    [
        (np.zeros(SR), True),
        (np.full(SR, 0.5), True),  # an offset is not sound
        (noise(SR, 0.9e-4), True),
        (noise(SR, 1.1e-4), False),
        (noise(SR, 1.1e-4, offset=-0.3), False),
    ],
)
def test_silence_is_told(y, silent):
    prepared = prepare_speech((y, SR))
    assert prepared.silent is silent
    assert np.isfinite(prepared.wav).all()
    assert any("is silent" in note for note in prepared.notes) is silent


def test_short_recordings_get_a_note():
    (note,) = prepare_speech((noise(SR - 1000), SR)).notes
    assert note == "The recording lasts 0.938 s; results for less than 1 s of speech are unreliable."
    assert prepare_speech((noise(SR), SR)).notes == ()


def test_bad_samples_become_silence_before_the_mean_is_taken():
    y = noise(SR)
    bad, repaired = y.copy(), y.copy()
    bad[100:103] = np.nan, np.inf, -np.inf
    repaired[100:103] = 0
    prepared = prepare_speech((bad, SR))
    np.testing.assert_array_equal(prepared.wav, prepare_speech((repaired, SR)).wav)
    assert prepared.notes == ("3 samples were NaN or infinite and were replaced by silence.",)


def test_channels_are_averaged():
    left, right = noise(SR + 1), noise(SR + 2)[1:]
    stereo = prepare_speech((np.stack([left, right], axis=1), SR)).wav
    np.testing.assert_allclose(stereo, prepare_speech(((left + right) / 2, SR)).wav, atol=1e-6)


def test_int16_samples_are_the_encoded_file():
    y = (noise(SR) * 32768).astype(np.int16)
    encoded = prepare_speech(encode(y, SR, "wav"))
    np.testing.assert_array_equal(prepare_speech((y, SR)).wav, encoded.wav)
    assert list(encoded.seconds) == ["decode", "downmix", "resample", "normalise"]


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "m4a", "wma", "opus"])
def test_every_format_gives_the_same_sound(kind):
    y = music(4.0, 48000, 2)
    expected, prepared = (prepare_speech(recording) for recording in ((y, 48000), encode(y, 48000, kind)))
    assert prepared.duration == pytest.approx(4.0, abs=0.1)
    part, whole = prepared.wav[0, 8000:40_000], expected.wav[0, 6000:44_000]
    lag = np.argmax(np.correlate(whole, part, "valid"))  # an encoder's delay is not the decoder's fault
    assert np.corrcoef(whole[lag : lag + len(part)], part)[0, 1] > 0.99


def test_the_resampler_is_torchaudios_not_soxr():
    """They differ most in the transition band, at 7 to 8 kHz."""
    t = np.arange(3 * 48000) / 48000
    y = (0.5 * np.sin(2 * np.pi * 7500 * t)).astype(np.float32)
    fed = preprocess.resample.SincResampler(48000, SR).resample_chunk(y, last=True)
    np.testing.assert_array_equal(prepare_speech((y, 48000)).wav, prepare_speech((fed, SR)).wav)
    soxr = prepare_speech((preprocess.load((y, 48000), sr=SR).samples, SR)).wav
    assert np.abs(prepare_speech((y, 48000)).wav - soxr).max() > 0.1


def test_rows_are_the_same_bits_on_any_number_of_threads():
    code = (
        "import hashlib; from preprocess import prepare_speech; from tests.support.recordings import music;"
        "rows = [prepare_speech((music(45.0, sr), sr)).wav.tobytes() for sr in (8000, 44100, 48000)];"
        "print(hashlib.sha256(b''.join(rows)).hexdigest())"
    )
    digests = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", code]
        digests.add(subprocess.check_output(command, cwd=Path(__file__).parents[2], env=environment))
    assert len(digests) == 1


def test_enhancement_comes_before_normalisation():
    y = np.concatenate([np.zeros(SR, np.float32), music(4.0, sr=SR, channels=1)])
    y = y + 0.02 * np.random.default_rng(0).normal(size=len(y))
    y, enhancement = y.astype(np.float32), Enhancement(denoise="first", compress=True)
    prepared = prepare_speech((y, SR), enhancement=enhancement)
    enhanced, done, _ = enhance(y, SR, enhancement)
    np.testing.assert_array_equal(prepared.wav, prepare_speech((enhanced, SR)).wav)
    assert prepared.enhanced == done and set(done) == {"denoise", "compress"}
    np.testing.assert_array_equal(
        prepare_speech((y, SR), enhancement=Enhancement()).wav, prepare_speech((y, SR)).wav
    )
