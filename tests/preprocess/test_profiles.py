"""The profiles against the official pipeline (bench/baselines) and the articles' code, rebuilt with librosa."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import librosa
import matplotlib
import numpy as np
import pytest
import torch

import preprocess
from bench.baselines import official
from preprocess import RecordingError, prepare
from preprocess.render import MAGMA
from systems.profiles import FrontEnd, Profile
from tests.support.recordings import encode, music


@pytest.mark.parametrize("spectrum", ["cqt", "mel"])
@pytest.mark.parametrize(("seconds", "slices"), [(12.0, 1), (15.0, 1), (30.0, 2), (41.3, 3)])
def test_ccmusic_equals_the_official_pipeline(spectrum, seconds, slices):
    data = encode(music(seconds, seed=int(seconds)), 44100, "mp3")
    pictures = list(official.pictures(data, spectrum))
    assert all(picture.size == (496, 369) for picture in pictures)
    expected = np.stack([official.row(picture) for picture in pictures])
    prepared = prepare(data, "ccmusic", spectrum=spectrum)
    assert prepared.rows.dtype == np.float32 and prepared.rows.shape == (slices, 3, 224, 224)
    difference = np.abs(prepared.rows - expected) * 127.5  # grey levels
    assert np.mean(difference <= 2) >= 0.99
    assert difference.max() < 40


def test_jpeg_round_trip_is_a_small_change():
    """What it is worth is measured by bench/; here: it is a change, and a small one."""
    data = encode(music(12.0), 44100, "wav")
    difference = np.abs(prepare(data).rows - prepare(data, jpeg=False).rows) * 127.5
    assert 0.1 < difference.mean() < 6


def test_magma_is_matplotlibs():
    """Rounded, as the Agg renderer does (calling the colormap with bytes=True truncates)."""
    np.testing.assert_array_equal(MAGMA, np.round(matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255))


def cv2_bilinear(values: np.ndarray) -> np.ndarray:
    """OpenCV's INTER_LINEAR, which PyTorch's interpolate without antialias reproduces."""
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], (224, 224), mode="bilinear", align_corners=False
    )
    return resized[0, 0].numpy()


@pytest.mark.parametrize("seconds", [3.0, 30.0, 37.0])
def test_article_a_equals_the_articles_code(seconds):
    data = encode(music(seconds), 44100, "mp3")
    y, sr = librosa.load(io.BytesIO(data), sr=22050, duration=30)
    cqt_db = librosa.amplitude_to_db(np.abs(librosa.cqt(y, sr=sr, n_bins=84, hop_length=512)))
    resized = cv2_bilinear(cqt_db)
    expected = (resized - resized.min()) / (resized.max() - resized.min())
    prepared = prepare(data, "article-a")
    assert prepared.rows.shape == (1, 3, 224, 224)
    for channel in prepared.rows[0]:
        np.testing.assert_allclose(channel, expected, atol=2e-4)
    assert prepared.seconds_used == pytest.approx(min(seconds, 30.0), abs=0.1)


@pytest.mark.parametrize("seconds", [1.5, 10.0, 33.0])
def test_article_b_equals_the_articles_code_up_to_its_40_by_224(seconds):
    data = encode(music(seconds), 44100, "mp3")
    y, sr = librosa.load(io.BytesIO(data), sr=22050, duration=30)
    mel = librosa.feature.melspectrogram(y=y, sr=sr, n_mels=40, n_fft=1024, hop_length=256)
    db = librosa.power_to_db(mel, ref=np.max)
    scaled = (db - db.min()) / (db.max() - db.min())
    if scaled.shape[1] < 224:
        scaled = np.tile(scaled, (1, int(np.ceil(224 / scaled.shape[1]))))[:, :224]
    else:
        start = (scaled.shape[1] - 224) // 2
        scaled = scaled[:, start : start + 224]
    prepared = prepare(data, "article-b", spectrum="mel")
    np.testing.assert_allclose(prepared.rows[0, 1], cv2_bilinear(scaled), atol=2e-4)
    assert prepared.seconds_used == pytest.approx(min(seconds, 224 * 256 / 22050), abs=0.06)


@pytest.mark.parametrize("profile", [name for name, each in preprocess.PROFILES.items() if each.value_range])
@pytest.mark.parametrize("spectrum", ["cqt", "mel"])
def test_every_layout_takes_every_spectrum_and_ordinary_lengths(profile, spectrum):
    for seconds in (0.5, 2.0, 11.4, 31.0):
        rows = prepare((music(seconds, 22050, 1), 22050), profile, spectrum=spectrum).rows
        assert rows.shape[1:] == (3, 224, 224) and np.isfinite(rows).all()
        assert rows.min() >= -1 and rows.max() <= 1 and rows.std() > 0.01


def test_a_recording_shorter_than_a_slice_is_repeated_with_a_note():
    short = music(4.0, 22050, 1)
    prepared = prepare((short, 22050))
    repeated = prepare((np.tile(short, 3)[: int(np.ceil(11.4 * 22050))], 22050))
    np.testing.assert_array_equal(prepared.rows, repeated.rows)
    assert prepared.notes == ("The recording lasts 4 s and was repeated to fill 11.4 s.",)
    assert prepared.slices[0][1] <= 4.0 and prepared.duration == pytest.approx(4.0)


def test_slices_beyond_the_bound_are_left_out_evenly():
    y = music(130.0, 22050, 1)
    everything, some = prepare((y, 22050)), prepare((y, 22050), max_rows=4)
    assert len(everything.rows) == everything.slices_total == some.slices_total == 11
    np.testing.assert_array_equal(some.rows, everything.rows[[1, 4, 6, 9]])
    assert some.slices == tuple(everything.slices[k] for k in (1, 4, 6, 9))
    assert some.notes == ("4 of 11 slices were used, evenly spaced over the recording.",)


def test_slices_are_told_in_seconds_of_the_recording():
    prepared = prepare((music(30.0, 22050, 1), 22050))
    (start, middle), (again, end) = prepared.slices
    assert middle == again
    assert (start, middle, end) == pytest.approx((3.6, 15.0, 26.4), abs=0.05)


@pytest.mark.parametrize("profile", preprocess.PROFILES)
def test_silence_is_refused_by_every_profile(profile):
    with pytest.raises(RecordingError, match="silent"):
        prepare((np.zeros(22050 * 3, np.float32), 22050), profile, spectrum="mel")


def test_a_silent_slice_of_a_recording_is_black_as_in_matplotlib():
    y = music(24.0, 22050, 1)
    y[: 13 * 22050] = 0
    rows = prepare((y, 22050)).rows
    assert rows.shape[0] == 2
    black = MAGMA[0].astype(np.float32) / 127.5 - 1
    assert np.abs(rows[0].mean(axis=(1, 2)) - black).max() < 0.02
    assert np.isfinite(rows).all()


def test_loudness_does_not_matter_to_profiles_relative_to_the_peak():
    y = music(12.0, 22050, 1)
    assert np.abs(prepare((y, 22050)).rows - prepare((y * 0.05, 22050)).rows).mean() < 0.005


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"profile": "official"},
            "profile 'official' is unknown; choose one of ccmusic, article-a, article-b, musicnn",
        ),
        ({"spectrum": "stft"}, "spectrum 'stft' is unknown"),
    ],
)
def test_unknown_names_are_refused_with_the_choice(arguments, words):
    with pytest.raises(RecordingError, match=words):
        prepare((music(1.0, 22050, 1), 22050), **arguments)


def test_imports_neither_triton_nor_torch_nor_librosa():
    code = (
        "import sys, preprocess;"
        "heavy = {'torch', 'librosa', 'numba', 'matplotlib', 'tritonclient', 'triton_python_backend_utils'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("spectrum", ["cqt", "mel"])
def test_rows_are_the_same_bits_on_any_number_of_threads(spectrum):
    """A last bit can move a pixel to the next colour, and JPEG spreads that."""
    code = (
        "import hashlib; from preprocess import prepare; from tests.support.recordings import music;"
        f"rows = prepare((music(25.0), 44100), spectrum={spectrum!r}).rows;"
        "print(hashlib.sha256(rows.tobytes()).hexdigest())"
    )
    digests = set()
    for threads in ("1", "2", "4"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", code]
        digests.add(subprocess.check_output(command, cwd=Path(__file__).parents[2], env=environment))
    assert len(digests) == 1


TAGGER = replace(preprocess.PROFILES["musicnn"], name="tagger")


def test_patches_of_a_log_mel_spectrogram_equal_librosa():
    y = music(20.0, 16000, 1)
    power = librosa.feature.melspectrogram(y=y, sr=16000, n_fft=512, hop_length=256, n_mels=96)
    expected = np.log10(10000 * power + 1)
    prepared = prepare((y, 16000), TAGGER, spectrum="mel")
    assert prepared.rows.shape == (6, 1, 96, 187) and prepared.slices_total == 6
    for k, row in enumerate(prepared.rows):
        patch = expected[:, 187 * k : 187 * (k + 1)]
        np.testing.assert_allclose(row[0], patch, rtol=0, atol=1e-5 * expected.max())
        assert prepared.slices[k] == pytest.approx((2.992 * k, 2.992 * (k + 1)))
    assert prepared.profile == "tagger" and prepared.notes == ()


def test_patches_are_thinned_evenly_and_a_short_recording_is_repeated():
    y = music(20.0, 16000, 1)
    everything = prepare((y, 16000), TAGGER, spectrum="mel")
    some = prepare((y, 16000), TAGGER, spectrum="mel", max_rows=2)
    np.testing.assert_array_equal(some.rows, everything.rows[[1, 4]])
    assert some.notes == ("2 of 6 slices were used, evenly spaced over the recording.",)
    short = prepare((y[:16000], 16000), TAGGER, spectrum="mel")
    assert short.notes == ("The recording lasts 1 s and was repeated to fill 2.992 s.",)
    assert short.rows.shape == (1, 1, 96, 187) and short.slices == ((0.0, 1.0),)


def test_features_are_those_of_the_rate_that_they_are_made_for():
    """Resampled as a whole recording is: the tempo of a 16 kHz profile is that of the others."""
    y = music(20.0, 44100, 1)
    tagger = prepare((y, 44100), TAGGER, spectrum="mel", with_features=True).features
    others = prepare((y, 44100), with_features=True).features
    assert tagger["tempo"] == pytest.approx(others["tempo"], rel=0.01)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sr": 16000, "front_ends": {"cqt": FrontEnd()}}, "a CQT needs sr=22050, not 16000"),
        ({"front_ends": {"stft": FrontEnd()}}, "spectrum 'stft' is unknown; choose cqt or mel"),
        ({"front_ends": {"mel": FrontEnd(scale="dB")}}, "scale 'dB' is unknown; choose db or log"),
        ({"render": "gray"}, "render 'gray' is unknown; choose magma, squashed, centre, patches"),
    ],
)
def test_a_profile_that_cannot_be_carried_out_is_refused_where_it_is_declared(change, sentence):
    with pytest.raises(ValueError, match=f"profile tagger: {sentence}"):
        replace(TAGGER, **change)


def test_a_profile_survives_a_manifest():
    for profile in (TAGGER, *preprocess.PROFILES.values()):
        assert Profile.from_json(json.loads(json.dumps(profile.to_json()))) == profile
