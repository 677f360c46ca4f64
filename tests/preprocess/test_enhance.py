"""Enhancement against librosa, FFmpeg, EBU Tech 3341 and the compressor's formulas written sample by sample."""

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import av.filter
import librosa
import numpy as np
import pytest
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from preprocess.enhance import (
    Enhancement,
    compress,
    enhance,
    integrated_loudness,
    noise_power,
    spectral_subtraction,
)
from tests.support.recordings import music

RATES = {22050: 1024, 16000: 512}  # Hz -> samples in a frame
COMPRESS = {"threshold": -20.0, "ratio": 4.0, "attack": 5.0, "release": 100.0}


def hiss(n: int, rms: float = 0.01, seed: int = 0) -> np.ndarray:
    return (rms * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def tone(seconds: float, sr: int, db: float = 0.0, freq: float = 1000.0) -> np.ndarray:
    """A sine whose peak is at db dBFS."""
    n = np.arange(round(seconds * sr))
    return (10 ** (db / 20) * np.sin(2 * np.pi * freq / sr * n)).astype(np.float32)


def noisy_music(sr: int, seconds: float = 6.0) -> np.ndarray:
    """A noise-only second and a half, then music with pauses, all under the same hiss."""
    y = music(seconds, sr, 1)
    t = np.arange(len(y)) / sr
    return y * ((t > 1.5) & (t % 2 < 1.6)).astype(np.float32) + hiss(len(y))


# ---------------------------------------------------------------------------------------------------- noise


def article_subtraction(y, sr, n_fft, factor, floor, source):
    """Article 001's `spectral_subtraction` with librosa, its numbers as parameters.

    It pads by a whole frame, so that librosa divides by a full sum of windows at the ends too, and takes no frame
    into the noise that is partly beyond the recording.
    """
    hop = n_fft // 4
    if source == "first":
        frames = librosa.stft(y[:sr], n_fft=n_fft, hop_length=hop, center=False)
    else:
        frames = librosa.stft(y, n_fft=n_fft, hop_length=hop, center=False)
        energy = (librosa.util.frame(y, frame_length=n_fft, hop_length=hop) ** 2).sum(axis=0)
        frames = frames[:, np.argsort(energy)[: math.ceil(len(energy) / 10)]]
    noise = np.mean(np.abs(frames) ** 2, axis=1, keepdims=True)
    stft = librosa.stft(np.pad(y, n_fft), n_fft=n_fft, hop_length=hop, center=False)
    power = np.abs(stft) ** 2
    enhanced = np.maximum(power - factor * noise, floor * power)
    phased = np.sqrt(enhanced) * np.exp(1j * np.angle(stft))
    return librosa.istft(phased, n_fft=n_fft, hop_length=hop, center=False)[n_fft:][: len(y)]


@pytest.mark.parametrize("sr", RATES)
@pytest.mark.parametrize("source", ["quietest", "first"])
@pytest.mark.parametrize(("factor", "floor"), [(0.5, 0.01), (2.0, 0.01), (10.0, 0.5)])
def test_spectral_subtraction_is_the_articles(sr, source, factor, floor):
    y = noisy_music(sr)
    expected = article_subtraction(y, sr, RATES[sr], factor, floor, source)
    result, done, notes = enhance(y, sr, Enhancement(denoise=source, denoise_factor=factor, denoise_floor=floor))
    assert result.dtype == np.float32 and result.shape == y.shape
    assert np.abs(result - expected).max() <= 1e-5 * np.abs(y).max()
    assert done["denoise"]["from"] == source and not notes
    removed = 10 * np.log10((y.astype(float) ** 2).sum() / (expected.astype(float) ** 2).sum())
    assert done["denoise"]["removed_db"] == pytest.approx(removed, abs=0.006)


@pytest.mark.parametrize("n", [1, 255, 1024, 5001, 44100])
def test_subtracting_nothing_gives_the_samples_back(n):
    y = noisy_music(22050)[-n:]
    noise = np.ones(513, np.float32)
    assert np.abs(spectral_subtraction(y, noise, factor=0, floor=0.01) - y).max() <= 1e-6


def test_subtraction_does_not_depend_on_the_blocks(monkeypatch):
    y = noisy_music(22050)
    results = []
    for block in (1, 7, 64, 4096):
        monkeypatch.setattr("preprocess.enhance.BLOCK", block)
        results.append(spectral_subtraction(y, noise_power(y, 22050, "quietest"), factor=2, floor=0.01))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_a_long_recording_needs_little_memory():
    y = hiss(10 * 60 * 22050)
    tracemalloc.start()
    spectral_subtraction(y, noise_power(y, 22050, "quietest"), factor=2, floor=0.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 2.2 * y.nbytes  # the padded samples and the result; a spectrogram alone would be eight times y


def test_noise_goes_and_the_tone_stays():
    sr = 22050
    t = np.arange(6 * sr) / sr
    sounding = (t > 1.5) & (t % 1 < 0.7)
    signal, noise = tone(6, sr, -20) * sounding, hiss(6 * sr, 0.02)
    result = spectral_subtraction(
        signal + noise, noise_power(signal + noise, sr, "quietest"), factor=2, floor=0.01
    )
    snr = [10 * np.log10((signal**2).sum() / ((y - signal) ** 2).sum()) for y in (signal + noise, result)]
    assert snr[1] - snr[0] > 6


@pytest.mark.parametrize("source", ["quietest", "first"])
def test_the_noise_is_that_of_white_noise_also_beside_digital_silence(source):
    sr, rms = 22050, 0.01
    y = hiss(20 * sr, rms)
    expected = rms**2 * 1024 * 3 / 8  # variance times the window's energy
    assert noise_power(y, sr, source).mean() == pytest.approx(expected, rel=0.12)
    y[sr // 4 : 12 * sr] = 0  # a quarter of the first second is left, and more than a tenth of all is silent
    y[sr // 2] = 1e-6
    assert noise_power(y, sr, source).mean() == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(
    ("y", "source", "note"),
    [
        (np.zeros(44100, np.float32), "quietest", "too short or digital silence"),
        (hiss(1023), "quietest", "too short or digital silence"),
        (hiss(22050), "first", "is silent or the whole recording"),
        (np.pad(hiss(22050), (22050, 0)), "first", "is silent or the whole recording"),
    ],
)
def test_without_noise_to_take_nothing_is_done_and_said(y, source, note):
    result, done, notes = enhance(y, 22050, Enhancement(denoise=source))
    assert result is y and done == {}
    assert len(notes) == 1 and note in notes[0]


# ------------------------------------------------------------------------------------------------- loudness


def tones(*parts: tuple[float, float], sr: int) -> np.ndarray:
    """1 kHz at (dBFS, seconds), one after the other."""
    return np.concatenate([tone(seconds, sr, db) for db, seconds in parts])


@pytest.mark.parametrize("sr", RATES)
@pytest.mark.parametrize(
    ("parts", "stereo"),
    [
        ([(-23, 20)], -23),
        ([(-33, 20)], -33),
        ([(-36, 10), (-23, 60), (-36, 10)], -23),
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23),
    ],
    ids=["case 1", "case 2", "case 3", "case 4", "case 5"],
)
def test_loudness_of_ebu_tech_3341(sr, parts, stereo):
    """Its signals are the same in both channels; one channel has half their power."""
    assert integrated_loudness(tones(*parts, sr=sr), sr) == pytest.approx(stereo - 10 * math.log10(2), abs=0.1)


def ffmpeg_loudness(y: np.ndarray, sr: int, log: Path) -> float:
    """Integrated loudness of FFmpeg's ebur128 filter, LUFS."""
    graph = av.filter.Graph()
    source = graph.add("abuffer", f"sample_rate={sr}:sample_fmt=flt:channel_layout=mono:time_base=1/{sr}")
    steps = [
        source,
        graph.add("ebur128", "metadata=1:framelog=quiet"),
        graph.add("ametadata", f"mode=print:key=lavfi.r128.I:file={log}"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*steps).configure()
    frame = av.AudioFrame.from_ndarray(y[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts = sr, 0
    source.push(frame)
    source.push(None)
    while True:
        try:
            steps[-1].pull()
        except av.EOFError:
            break
    del steps, source, graph  # which closes the file
    return float(log.read_text().rstrip().rsplit("=")[-1])


@pytest.mark.parametrize("sr", RATES)
@pytest.mark.parametrize("what", ["music", "hiss", "quiet then loud"])
def test_loudness_is_ffmpegs(sr, what, tmp_path):
    y = {
        "music": music(10, sr, 1),
        "hiss": hiss(10 * sr, 0.1),
        "quiet then loud": np.concatenate([0.01 * music(10, sr, 1, seed=1), music(10, sr, 1, seed=2)]),
    }[what]
    assert integrated_loudness(y, sr) == pytest.approx(ffmpeg_loudness(y, sr, tmp_path / "log"), abs=0.1)


@pytest.mark.parametrize("target", [-40.0, -23.0, 0.0])
def test_the_loudness_is_brought_to_the_target(target):
    y = music(5, 22050, 1)
    result, done, notes = enhance(y, 22050, Enhancement(loudness=target))
    assert integrated_loudness(result, 22050) == pytest.approx(target, abs=0.01)
    assert result.dtype == np.float32 and not notes
    assert done == {"loudness": {"from": round(integrated_loudness(y, 22050), 2), "to": target}}
    np.testing.assert_allclose(result, y * (result[1000] / y[1000]), rtol=1e-5)  # a gain, nothing clipped


@pytest.mark.parametrize("y", [tone(0.39, 22050), tone(5, 22050, -80), np.zeros(44100, np.float32)])
def test_what_has_no_loudness_is_left_as_it_is(y):
    result, done, notes = enhance(y, 22050, Enhancement(loudness=-23.0))
    assert result is y and done == {}
    assert len(notes) == 1 and "without 0.4 s of sound above -70 LUFS" in notes[0]


# ------------------------------------------------------------------------------------------------- dynamics


def textbook(x: np.ndarray, sr: int, threshold: float, ratio: float, attack: float, release: float) -> np.ndarray:
    """Reduction in dB at every sample: gain computer, then the smooth branching detector, sample by sample."""
    attack, release = (math.exp(-1 / (0.001 * tau * sr)) for tau in (attack, release))
    state, out = 0.0, []
    for sample in x.tolist():
        level = 20 * math.log10(max(abs(sample), 1e-10))
        static = level if level <= threshold else threshold + (level - threshold) / ratio
        share = attack if level - static > state else release
        state = share * state + (1 - share) * (level - static)
        out.append(state)
    return np.array(out)


@pytest.mark.parametrize("sr", RATES)
@pytest.mark.parametrize("attack", [0.1, 5.0])
def test_reduction_is_the_textbooks_where_peaks_are_held(sr, attack):
    """A level that is the peak of every millisecond, and otherwise nothing in common."""
    arguments = COMPRESS | {"attack": attack}
    y = music(2.003, sr, 1) * 2
    hop = sr // 1000
    held = np.concatenate([np.full(hop, np.abs(y[k : k + hop]).max()) for k in range(0, len(y), hop)])
    expected = textbook(held, sr, **arguments)[hop - 1 :: hop]
    result, reduction = compress(y, sr, **arguments)
    assert expected.max() > 10
    np.testing.assert_allclose(reduction, expected, atol=1e-9)
    ends = np.arange(hop - 1, len(y), hop)
    np.testing.assert_allclose(result[ends], y[ends] * 10 ** (-expected[: len(ends)] / 20), rtol=1e-5, atol=1e-9)


def test_reduction_is_the_textbooks_for_a_square_wave():
    """Its level is the same at every sample, nothing need be held: at most a millisecond early or late."""
    sr = 22050
    levels = np.repeat([0.01, 0.9, 0.05, 0.4, 0.7, 0.1], 4999)
    y = (levels * np.sign(np.sin(2 * np.pi * 200 / sr * np.arange(len(levels)) + 0.01))).astype(np.float32)
    result = -20 * np.log10(compress(y, sr, **COMPRESS)[0] / y)
    expected = textbook(y, sr, **COMPRESS)
    assert (result >= minimum_filter1d(expected, 45) - 0.05).all()
    assert (result <= maximum_filter1d(expected, 45) + 0.05).all()


@pytest.mark.parametrize("db", [-60, -20, -12, 0, 6])
@pytest.mark.parametrize(("threshold", "ratio"), [(-20.0, 4.0), (-30.0, 100.0), (0.0, 2.0), (-20.0, 1.0)])
def test_static_curve(db, threshold, ratio):
    y = tone(1.5, 22050, db)
    result, _ = compress(y, 22050, **COMPRESS | {"threshold": threshold, "ratio": ratio})
    settled = slice(22050, None)
    gain = 10 * np.log10((result[settled] ** 2).sum() / (y[settled] ** 2).sum())
    wanted = db if db <= threshold else threshold + (db - threshold) / ratio
    assert db + gain == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize("sr", RATES)
@pytest.mark.parametrize(("attack", "release"), [(5.0, 100.0), (50.0, 20.0)])
def test_time_constants(sr, attack, release):
    """From -40 dBFS to 0 and back: after a time constant, 1 - 1/e of the way is gone."""
    y = np.repeat(np.float32([0.01, 1, 0.01]), sr)
    _, reduction = compress(y, sr, **COMPRESS | {"attack": attack, "release": release})
    ends = np.arange(1, len(reduction) + 1) * (sr // 1000) / sr  # s
    rise, fall = np.interp([1 + attack / 1000, 2 + release / 1000], ends, reduction)
    assert np.interp(2, ends, reduction) == pytest.approx(15, abs=0.01)
    assert rise == pytest.approx(15 * (1 - 1 / math.e), abs=15 / attack * 0.4)
    assert fall == pytest.approx(15 / math.e, abs=15 / release * 0.4)


@pytest.mark.filterwarnings("error")
def test_digital_silence_is_below_the_threshold():
    y = np.pad(hiss(2205, 0.001), 2205)
    result, reduction = compress(y, 22050, **COMPRESS)
    np.testing.assert_array_equal(result, y)
    assert not reduction.any()


def test_what_the_compressor_reports():
    y = np.repeat(np.float32([0.01, 1]), 22050)
    result, done, notes = enhance(y, 22050, Enhancement(compress=True))
    reduction = compress(y, 22050, **COMPRESS)[1]
    assert done == {"compress": {"most_db": 15.0, "mean_db": round(reduction.mean(), 2)}} and not notes
    assert result.dtype == np.float32 and result.shape == y.shape


# --------------------------------------------------------------------------------------------- all together


def test_off_is_the_same_array():
    y = hiss(5000)
    result, done, notes = enhance(y, 22050, Enhancement(denoise_factor=5, compress_ratio=10))
    assert result is y and (done, notes) == ({}, ())


@pytest.mark.parametrize("asked", [{"denoise": "first"}, {"loudness": 0.0}, {"compress": True}])
def test_on(asked):
    assert not Enhancement().on and Enhancement(**asked).on


def test_noise_then_loudness_then_dynamics():
    sr = 16000
    asked = Enhancement(denoise="quietest", denoise_factor=3.0, loudness=-16.0, compress=True, compress_ratio=8.0)
    off = Enhancement(denoise_factor=3.0, compress_ratio=8.0)
    y = noisy_music(sr)
    before = y.copy()
    expected, done = y, {}
    for step in ({"denoise": "quietest"}, {"loudness": -16.0}, {"compress": True}):
        expected, of_step, _ = enhance(expected, sr, replace(off, **step))
        done |= of_step
    result = enhance(y, sr, asked)
    np.testing.assert_array_equal(result[0], expected)
    assert result[1:] == (done, ()) and list(done) == ["denoise", "loudness", "compress"]
    np.testing.assert_array_equal(y, before)
