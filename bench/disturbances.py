"""Disturbs and encodes recordings: noise, clipping, low bit rates, telephone, silence.

`bench.evaluation_sets` disturbs generated sound, `bench.tags` real music. All functions work on mono float32 [n]
at `SR` and use the random generator that they receive.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import soundfile as sf
from scipy import signal

from sounds import Samples

SR = 22050  # Hz
PEAK = np.float32(0.9)
LEAD_IN = 1.5  # s of noise alone

Noise = Callable[[int, np.random.Generator], Samples]
Silences = tuple[float, float, float]


class Form(NamedTuple):
    """File format of a recording: suffix, sample rate in Hz, and arguments of soundfile."""

    suffix: str
    sr: int
    arguments: dict[str, object]


def _mp3(sr: int, compression: float) -> Form:
    arguments = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": compression}
    return Form(".mp3", sr, arguments)


MP3 = _mp3(SR, 0.2)  # 128 kbit/s
MP3_32 = _mp3(SR, 0.84)
MP3_16 = _mp3(16000, 0.95)
FLAC = Form(".flac", SR, {"format": "FLAC", "subtype": "PCM_16"})
WAV = Form(".wav", SR, {"format": "WAV", "subtype": "PCM_16"})
TELEPHONE = Form(".wav", 8000, {"format": "WAV", "subtype": "ULAW"})


def encoded(samples: Samples, form: Form) -> bytes:
    """Return the samples as a file."""
    file = io.BytesIO()
    sf.write(file, samples, form.sr, **form.arguments)
    return file.getvalue()


def noisy(y: Samples, noise: Noise, snr: float, rng: np.random.Generator) -> Samples:
    """Add noise as in a live recording: the noise is continuous, the sound starts after 1.5 s and pauses twice.

    Parameters
    ----------
    y : at least 22 s
    noise : one of `NOISES`
    snr : signal-to-noise ratio in dB, outside the pauses
    """
    bounds = [LEAD_IN, rng.uniform(9, 11), rng.uniform(19, 21), len(y) / SR]
    pauses = [0.0, *rng.uniform(0.4, 0.8, 2)]
    paused = np.zeros_like(y)
    for start, pause, end in zip(bounds, pauses, bounds[1:], strict=False):
        part = slice(round((start + pause) * SR), round(end * SR))
        paused[part] = faded(y[part])
    background = noise(len(y), rng)
    power = np.mean(np.square(paused[paused != 0], dtype=np.float64))
    background *= np.float32(np.sqrt(power / np.mean(np.square(background, dtype=np.float64)) / 10 ** (snr / 10)))
    return scaled(paused + background)


def clipped(y: Samples, decibels: float) -> Samples:
    """Amplify by decibels beyond full scale, and clip."""
    return np.clip(np.float32(10 ** (decibels / 20)) * scaled(y), -PEAK, PEAK)


def reduced(y: Samples, form: Form) -> Samples:
    """Resample to the rate of a form; for a telephone, keep 300 to 3400 Hz."""
    y = signal.resample_poly(y, form.sr // 50, SR // 50).astype(np.float32)
    if form is TELEPHONE:
        y = signal.sosfilt(signal.butter(4, (300, 3400), "bandpass", fs=form.sr, output="sos"), y)
    return scaled(y)


def interrupted(y: Samples, split: int, silences: Silences, floor: float, rng: np.random.Generator) -> Samples:
    """Insert silence before, within and after the sound.

    Parameters
    ----------
    split : samples before the silence within the sound
    silences : seconds of the three silences
    floor : level of the converter noise in silence; 0: digital silence
    """
    first, second = np.split(scaled(y), [split])
    before, pause, after = (np.zeros(round(seconds * SR), np.float32) for seconds in silences)
    y = np.concatenate([before, faded(first), pause, faded(second), after])
    return y + np.float32(floor) * rng.standard_normal(len(y), np.float32)


def white(n: int, rng: np.random.Generator) -> Samples:
    """White noise up to 6 kHz, falling above, like that of a microphone amplifier."""
    sos = signal.butter(1, 6000, fs=SR, output="sos")
    return signal.sosfilt(sos, rng.standard_normal(n)).astype(np.float32)


def pink(n: int, rng: np.random.Generator) -> Samples:
    """Pink noise above 20 Hz: power falls with frequency."""
    freqs = np.fft.rfftfreq(n, 1 / SR)
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.sqrt(np.maximum(freqs, 20))
    return np.fft.irfft(spectrum * (freqs > 20), n).astype(np.float32)


def fan(n: int, rng: np.random.Generator) -> Samples:
    """Noise of a fan: mains hum, blades and moving air."""
    t = np.arange(n) / SR
    air = signal.sosfilt(signal.butter(2, 500, fs=SR, output="sos"), rng.standard_normal(n))
    blades = rng.uniform(110, 160)
    tones = [(50 * k, 1 / k) for k in (1, 2, 3, 4, 6)] + [(blades * k, 0.7 / k) for k in (1, 2, 3)]
    hum = sum(level * np.sin(2 * np.pi * (freq * t + rng.random())) for freq, level in tones)
    return (air / air.std() + hum / hum.std()).astype(np.float32)


NOISES = (white, pink, fan)


def scaled(y: Samples) -> Samples:
    """Scale to the peak `PEAK`."""
    return (y * (PEAK / np.abs(y).max())).astype(np.float32)


def faded(y: Samples) -> Samples:
    """Fade in and out over 20 ms, so that a cut does not click."""
    ramp = np.linspace(0, 1, SR // 50, dtype=np.float32)
    envelope = np.ones_like(y)
    envelope[: len(ramp)], envelope[-len(ramp) :] = ramp, ramp[::-1]
    return y * envelope
