"""Features against sounds whose tempo, bass and syllables are known, and against librosa's tempo."""

import json
import shutil
import subprocess

import librosa
import numpy as np
import pytest
import soundfile as sf
import soxr
from scipy import signal

from preprocess.features import NAMES, features
from preprocess.spectrum import SR

SECONDS = 12
TEXT = (
    "The quick brown fox jumps over the lazy dog. She sells sea shells by the sea shore, and nobody knows how many"
    " she has sold."
)


def noise(seconds: float = SECONDS, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * SR))).astype(np.float32)


def strokes(times: np.ndarray, seconds: float = SECONDS) -> np.ndarray:
    """A short burst of noise at each time."""
    y, rng = np.zeros(round(seconds * SR), np.float32), np.random.default_rng(0)
    for start in (times[times < seconds - 0.1] * SR).astype(int):
        y[start : start + 2000] += rng.standard_normal(2000) * np.exp(-np.arange(2000) / 300)
    return y


def click_track(bpm: float) -> np.ndarray:
    return strokes(np.arange(0, SECONDS, 60 / bpm))


def kick_and_snare(bpm: float) -> np.ndarray:
    """Alternating kick and snare, a hi-hat on every half beat."""
    beat, t = 60 / bpm, np.arange(SR // 3) / SR
    kick = np.sin(2 * np.pi * (50 * t + 4 * (1 - np.exp(-30 * t)))) * np.exp(-12 * t)
    rng = np.random.default_rng(1)
    snare = 0.5 * rng.standard_normal(len(t)) * np.exp(-20 * t)
    hat = 0.2 * np.diff(rng.standard_normal(len(t) + 1)) * np.exp(-60 * t)
    y = np.zeros((SECONDS + 1) * SR)
    for k in range(int(2 * SECONDS / beat)):
        place = slice(start := int(k * beat / 2 * SR), start + len(t))
        y[place] += hat + (kick if k % 4 == 0 else snare if k % 4 == 2 else 0)
    return y[: SECONDS * SR].astype(np.float32)


def wavering(low: float, high: float, seed: int = 0) -> np.ndarray:
    """Noise whose level comes and goes irregularly, at rates between two frequencies in Hz."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(SECONDS * SR))
    freqs = np.fft.rfftfreq(SECONDS * SR, 1 / SR)
    level = np.fft.irfft(np.where((freqs >= low) & (freqs <= high), spectrum, 0))
    return (noise(seed=seed + 1) * np.maximum(0, 1 + level / level.std())).astype(np.float32)


def pad(seconds: float = SECONDS) -> np.ndarray:
    t = np.arange(round(seconds * SR)) / SR
    y = sum(np.sin(2 * np.pi * f * k * t) / k for f in (220, 277, 330) for k in range(1, 8))
    return (0.1 * y / y.std()).astype(np.float32)


def test_plain_numbers():
    found = features(kick_and_snare(100))
    assert tuple(found) == NAMES and all(type(value) is float for value in found.values())
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("bpm", [72, 90, 107.3, 120, 133, 150, 161])
def test_tempo_of_a_click_track(bpm):
    found = features(click_track(bpm))
    assert found["tempo"] == pytest.approx(bpm, rel=0.005)
    assert found["beat_strength"] > 0.95


@pytest.mark.parametrize(("bpm", "expected"), [(70, 140), (100, 100), (120, 120), (135, 135), (180, 90)])
def test_tempo_of_drums_is_librosa_s(bpm, expected):
    y = kick_and_snare(bpm)
    found = features(y)
    assert found["tempo"] == pytest.approx(expected, rel=0.005)
    assert found["tempo"] == pytest.approx(librosa.feature.tempo(y=y, sr=SR)[0], rel=0.04)  # frames of 23 ms
    assert found["beat_strength"] > 0.7


def test_no_beat():
    rng = np.random.default_rng(0)
    assert features(noise())["beat_strength"] < 0.1
    assert features(pad())["beat_strength"] < 0.1  # regular, but no onsets
    assert features(strokes(np.cumsum(rng.exponential(0.4, 60))))["beat_strength"] < 0.4
    once = features(strokes(np.array([5.0])))
    assert once["tempo"] == once["beat_strength"] == 0
    tone = np.sin(2 * np.pi * 12 / 256 * np.arange(SECONDS * SR))  # whole periods from frame to frame
    swell = features((tone * (0.001 + np.hanning(SECONDS * SR) ** 4)).astype(np.float32))
    assert swell["tempo"] == swell["beat_strength"] == 0  # alike a moment later, but less and less


def test_the_ends_are_no_onsets():
    t = np.arange(3 * SR) / SR
    assert features(np.cos(2 * np.pi * 500 * t).astype(np.float32))["beat_strength"] < 0.01


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6, 0.9])
def test_low_frequency_share_of_two_tones(share):
    t = np.arange(4 * SR) / SR
    y = np.sqrt(share) * np.sin(2 * np.pi * 80 * t) + np.sqrt(1 - share) * np.sin(2 * np.pi * 260 * t) + 0.3
    assert features(y.astype(np.float32))["low_frequency_share"] == pytest.approx(share, abs=0.005)


def test_low_frequency_share_of_noise():
    y = signal.sosfilt(signal.butter(1, 300, fs=SR, output="sos"), noise()).astype(np.float32)
    freqs = np.fft.rfftfreq(len(y), 1 / SR)
    power = np.abs(np.fft.rfft(y.astype(np.float64))) ** 2
    expected = power[(freqs > 0) & (freqs < 200)].sum() / power[1:].sum()
    assert features(y)["low_frequency_share"] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_voice_is_what_wavers_as_syllables_do(seed):
    voice = wavering(2.5, 6.5, seed)
    assert features(voice)["voice_presence"] > 0.7
    assert features(voice + 0.3 * pad())["voice_presence"] > 0.7
    for too_slow_or_fast in ((0.5, 2), (8, 18)):
        assert features(wavering(*too_slow_or_fast, seed))["voice_presence"] < 0.35


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
@pytest.mark.parametrize("voice", ["en", "en+f3", "de"])
def test_speech_is_voice_also_over_music(voice, tmp_path):
    path = tmp_path / "speech.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-w", path, TEXT], check=True)
    speech, sr = sf.read(path, dtype="float32")
    speech = soxr.resample(speech, sr, SR)
    speech *= 0.1 / speech.std()
    drums = kick_and_snare(120)[: len(speech)]
    assert features(speech)["voice_presence"] > 0.6
    assert features(speech)["beat_strength"] < 0.4
    assert features(speech + 0.5 * pad()[: len(speech)])["voice_presence"] > 0.6
    assert features(speech + 0.5 * 0.1 / drums.std() * drums)["voice_presence"] > 0.6


@pytest.mark.parametrize("bpm", [120, 240, 300])
def test_a_beat_is_no_voice(bpm):
    assert features(click_track(bpm))["voice_presence"] < 0.25
    assert features(kick_and_snare(bpm / 2))["voice_presence"] < 0.3


def test_noise_chords_and_tremolo_are_no_voice():
    t = np.arange(SECONDS * SR) / SR
    tremolo = ((1 + np.sin(2 * np.pi * 4 * t)) * pad()).astype(np.float32)
    for y in (noise(), pad(), tremolo, 0.01 * noise()):
        assert features(y)["voice_presence"] < 0.3


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.99, 2.9])
def test_short_recordings_say_less(seconds):
    found = features(click_track(120)[: round(seconds * SR)])
    assert found["voice_presence"] == 0
    if seconds < 2:
        assert found["tempo"] == found["beat_strength"] == 0
    else:
        assert found["tempo"] == pytest.approx(120, rel=0.01)


@pytest.mark.parametrize("level", [0.0, 0.1, 0.3])
@pytest.mark.filterwarnings("error")
def test_a_constant_has_nothing(level):
    assert set(features(np.full(8 * SR, level, np.float32)).values()) == {0.0}


def test_loudness_does_not_matter():
    y = kick_and_snare(110) + 0.01 * pad()
    quiet, loud = features(0.05 * y), features(y)
    assert quiet == pytest.approx(loud, rel=0.02, abs=0.02)
