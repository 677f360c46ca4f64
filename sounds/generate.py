"""Generates sixteen families of synthetic sound, for demo weights, tests and benchmarks.

Demo weights are fitted to distinguish them. Each family repeats within two seconds, so that every excerpt of 2.6 s
or more shows which family it is; pitch, tempo, brightness, loudness and background noise depend on the seed.
Family i corresponds to output i of the demo weights and has no other meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from scipy import signal

Samples = npt.NDArray[np.float32]
Family = Callable[[Samples, int, np.random.Generator], Samples]


def sound(family: int, seed: int, *, seconds: float = 30.0, sr: int = 22050, channels: int = 1) -> Samples:
    """Generate one sound; the same arguments give the same samples.

    Parameters
    ----------
    family : 0..15, see `FAMILIES`
    seed : selects the member of the family
    seconds : length
    sr : Hz
    channels : 1, or more for the same sound at different loudness in each channel

    Returns
    -------
    float32 [n], or [n, channels] where channels > 1; the loudest sample lies between 0.3 and 0.9
    """
    rng = np.random.default_rng([family, seed])
    t = np.arange(round(seconds * sr), dtype=np.float32) / np.float32(sr)
    y = list(FAMILIES.values())[family](t, sr, rng)
    y = y / np.abs(y).max() + 10 ** rng.uniform(-3.2, -2.6) * _noise(t, rng)
    y = (rng.uniform(0.3, 0.9) * y / np.abs(y).max()).astype(np.float32)
    if channels == 1:
        return y
    return y[:, None] * np.linspace(1.0, rng.uniform(0.5, 0.9), channels, dtype=np.float32)


def _noise(t: Samples, rng: np.random.Generator) -> Samples:
    return rng.standard_normal(len(t), dtype=np.float32)


def _band(t: Samples, sr: int, rng: np.random.Generator, low: float, high: float) -> Samples:
    """Return white noise between two frequencies in Hz."""
    sos = signal.butter(4, [low, min(high, 0.45 * sr)], "bandpass", fs=sr, output="sos")
    return signal.sosfilt(sos, _noise(t, rng)).astype(np.float32)


def _tone(t: Samples, sr: int, freq: float | Samples, partials: int = 1, rolloff: float = 1.0) -> Samples:
    """Return a harmonic tone of constant or varying frequency in Hz; partial k has the amplitude k^-rolloff."""
    cycles = np.cumsum(np.broadcast_to(freq, t.shape), dtype=np.float64) / sr
    phase = (2 * np.pi * (cycles % 1)).astype(np.float32)
    highest = np.max(freq)
    return sum(k**-rolloff * np.sin(k * phase) for k in range(1, partials + 1) if k * highest < 0.45 * sr)


def _beat(t: Samples, per_second: float) -> tuple[npt.NDArray[np.int64], Samples]:
    """Return the number of the current note and the seconds since its start."""
    position = t.astype(np.float64) * per_second
    number = np.floor(position).astype(np.int64)
    return number, ((position - number) / per_second).astype(np.float32)


def _decay(since: Samples, per_second: float) -> Samples:
    """Return the envelope of a struck note: an attack of a few milliseconds, then exponential decay."""
    return (1 - np.exp(-300 * since)) * np.exp(-per_second * since)


def _semitones(base: float, steps: npt.ArrayLike) -> Samples:
    return (base * 2 ** (np.asarray(steps) / 12)).astype(np.float32)


def _mix(parts: Iterable[Samples]) -> Samples:
    """The sum of sounds, of which there is at least one."""
    return np.asarray(sum(parts))


def _sustained_chord(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    steps = rng.permutation([[0, 7, 16], [0, 9, 16], [0, 8, 15]])[0]
    return _mix(_tone(t, sr, f) for f in _semitones(rng.uniform(230, 330), steps))


def _organ(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    chord = _semitones(rng.uniform(60, 80), [0, 7, 12])
    return _mix(_tone(t, sr, f, partials=24, rolloff=rng.uniform(0.3, 0.5)) for f in chord)


def _arpeggio(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    number, since = _beat(t, rng.uniform(7, 8.5))
    notes = _semitones(rng.uniform(240, 300), [0, 4, 7, 12, 16, 19, 24, 19, 16, 12, 7, 4])
    return _tone(t, sr, notes[number % len(notes)], partials=2, rolloff=2) * _decay(since, 6)


def _glissando_up(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    rate = rng.uniform(0.6, 0.8)
    return _tone(t, sr, rng.uniform(70, 100) * 2 ** (5 * rate * _beat(t, rate)[1]))


def _glissando_down(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    rate = rng.uniform(0.6, 0.8)
    return _tone(t, sr, rng.uniform(900, 1200) * 2 ** (-3 * rate * _beat(t, rate)[1]), partials=4, rolloff=0.5)


def _rumble(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    return _band(t, sr, rng, 30, rng.uniform(120, 180))


def _hiss(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    return _band(t, sr, rng, rng.uniform(1800, 2400), 20000)


def _waterfall(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    return _band(t, sr, rng, 40, 20000) + rng.uniform(0.2, 0.6) * _band(t, sr, rng, 200, 800)


def _kick_and_hat(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    tempo = rng.uniform(1.8, 2.2)
    since = _beat(t, tempo)[1]
    kick = _tone(t, sr, 50 + 120 * np.exp(-30 * since)) * np.exp(-9 * since)
    off_beat = _beat(t + np.float32(0.5 / tempo), tempo)[1]
    return kick + 0.25 * _band(t, sr, rng, 5000, 20000) * np.exp(-25 * off_beat)


def _snare_roll(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    since = _beat(t, rng.uniform(4.6, 5.6))[1]
    body = _tone(t, sr, rng.uniform(170, 210))
    return (_band(t, sr, rng, 300, 20000) + 0.4 * body) * np.exp(-14 * since)


def _tremolo(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * rng.uniform(2.2, 3.0) * t)
    return _tone(t, sr, rng.uniform(420, 560), partials=6, rolloff=0.6) * swell**3


def _siren(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    swing = np.sin(2 * np.pi * rng.uniform(0.9, 1.2) * t)
    return _tone(t, sr, rng.uniform(650, 850) * 2 ** (1.2 * swing), partials=3, rolloff=0.7)


def _plucked(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    number, since = _beat(t, rng.uniform(2.6, 3.2))
    freq = _semitones(rng.uniform(190, 230), rng.permutation([0, 2, 4, 7, 9]))[number % 5]
    return _mix(_tone(t, sr, k * freq) * _decay(since, 1.5 + 1.5 * k) / k for k in range(1, 7))


def _bass_line(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    number, since = _beat(t, rng.uniform(3.5, 4.5))
    freq = _semitones(rng.uniform(55, 65), [0, 0, 7, 5, 0, 10, 7])[number % 7]
    return _tone(t, sr, freq, partials=6) * _decay(since, 4)


def _bells(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    number, since = _beat(t, rng.uniform(2.6, 3.4))
    freq = _semitones(rng.uniform(1300, 1500), rng.permutation([0, 3, 5, 8]))[number % 4]
    return _mix(_tone(t, sr, ratio * freq) * _decay(since, 2 + 2 * ratio) for ratio in (1.0, 1.53, 2.41))


def _clicks(t: Samples, sr: int, rng: np.random.Generator) -> Samples:
    number, since = _beat(t, rng.uniform(9, 11))
    return _noise(t, rng) * np.exp(-500 * since) * np.where(number % 4 == 3, 0, 1)


# Name -> generator of (seconds of each sample float32 [n], rate in Hz, random generator) -> float32 [n].
FAMILIES: dict[str, Family] = {
    "sustained chord": _sustained_chord,
    "organ": _organ,
    "arpeggio": _arpeggio,
    "glissando up": _glissando_up,
    "glissando down": _glissando_down,
    "rumble": _rumble,
    "hiss": _hiss,
    "waterfall": _waterfall,
    "kick and hat": _kick_and_hat,
    "snare roll": _snare_roll,
    "tremolo": _tremolo,
    "siren": _siren,
    "plucked strings": _plucked,
    "bass line": _bass_line,
    "bells": _bells,
    "clicks": _clicks,
}
