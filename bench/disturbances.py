"""What spoils recordings, done to any sound: noise, clipping, few bits, a telephone, silence; and writing them.

`bench.evaluation_sets` does it to generated sound, `bench.tags` to real music. All work on mono float32 [n] at
`SR`, and draw from the random generator that they are given.
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
    """How a recording is written: suffix, rate in Hz, and what soundfile is asked for."""

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
    """The file."""
    file = io.BytesIO()
    sf.write(file, samples, form.sr, **form.arguments)
    return file.getvalue()


def noisy(y: Samples, noise: Noise, snr: float, rng: np.random.Generator) -> Samples:
    """As a live recording: the noise runs through, the sound begins after 1.5 s and stops twice for a moment.

    Parameters
    ----------
    y : at least 22 s
    noise : of `NOISES`
    snr : dB from the noise to the sound, where there is sound
    """
    bounds = [LEAD_IN, rng.uniform(9, 11), rng.uniform(19, 21), len(y) / SR]
    pauses = [0.0, *rng.uniform(0.4, 0.8, 2)]
    heard = np.zeros_like(y)
    for start, pause, end in zip(bounds, pauses, bounds[1:], strict=False):
        part = slice(round((start + pause) * SR), round(end * SR))
        heard[part] = faded(y[part])
    background = noise(len(y), rng)
    power = np.mean(np.square(heard[heard != 0], dtype=np.float64))
    background *= np.float32(np.sqrt(power / np.mean(np.square(background, dtype=np.float64)) / 10 ** (snr / 10)))
    return scaled(heard + background)


def clipped(y: Samples, decibels: float) -> Samples:
    """Driven so far beyond full scale."""
    return np.clip(np.float32(10 ** (decibels / 20)) * scaled(y), -PEAK, PEAK)


def reduced(y: Samples, form: Form) -> Samples:
    """At the rate of a form; for a telephone, 300 to 3400 Hz of it."""
    y = signal.resample_poly(y, form.sr // 50, SR // 50).astype(np.float32)
    if form is TELEPHONE:
        y = signal.sosfilt(signal.butter(4, (300, 3400), "bandpass", fs=form.sr, output="sos"), y)
    return scaled(y)


def interrupted(y: Samples, split: int, silences: Silences, floor: float, rng: np.random.Generator) -> Samples:
    """With silence before it, in it and after it.

    Parameters
    ----------
    split : samples before the one in it
    silences : seconds of the three
    floor : of the noise that a converter leaves in silence; 0: zeros
    """
    first, second = np.split(scaled(y), [split])
    before, pause, after = (np.zeros(round(seconds * SR), np.float32) for seconds in silences)
    y = np.concatenate([before, faded(first), pause, faded(second), after])
    return y + np.float32(floor) * rng.standard_normal(len(y), np.float32)


def white(n: int, rng: np.random.Generator) -> Samples:
    """White up to 6 kHz, then falling, as a microphone's amplifier leaves it."""
    sos = signal.butter(1, 6000, fs=SR, output="sos")
    return signal.sosfilt(sos, rng.standard_normal(n)).astype(np.float32)


def pink(n: int, rng: np.random.Generator) -> Samples:
    """Power that falls with frequency, above 20 Hz."""
    freqs = np.fft.rfftfreq(n, 1 / SR)
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.sqrt(np.maximum(freqs, 20))
    return np.fft.irfft(spectrum * (freqs > 20), n).astype(np.float32)


def fan(n: int, rng: np.random.Generator) -> Samples:
    """Mains hum, the blades of a fan and the air that it moves."""
    t = np.arange(n) / SR
    air = signal.sosfilt(signal.butter(2, 500, fs=SR, output="sos"), rng.standard_normal(n))
    blades = rng.uniform(110, 160)
    tones = [(50 * k, 1 / k) for k in (1, 2, 3, 4, 6)] + [(blades * k, 0.7 / k) for k in (1, 2, 3)]
    hum = sum(level * np.sin(2 * np.pi * (freq * t + rng.random())) for freq, level in tones)
    return (air / air.std() + hum / hum.std()).astype(np.float32)


NOISES = (white, pink, fan)


def scaled(y: Samples) -> Samples:
    """With its peak at `PEAK`."""
    return (y * (PEAK / np.abs(y).max())).astype(np.float32)


def faded(y: Samples) -> Samples:
    """20 ms in and out, so that a cut does not click."""
    ramp = np.linspace(0, 1, SR // 50, dtype=np.float32)
    envelope = np.ones_like(y)
    envelope[: len(ramp)], envelope[-len(ramp) :] = ramp, ramp[::-1]
    return y * envelope
