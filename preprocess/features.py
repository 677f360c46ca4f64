"""Measures the features that rules look at: tempo, beat, bass and voice of a recording, from the waveform.

They are cheap measures, not classifiers, and right in clear cases. `features` documents what each of them misses.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.fft
import soxr

from preprocess.spectrum import SR, hann, mel, power_to_db

Array = npt.NDArray[np.float32]

NAMES = ("tempo", "beat_strength", "low_frequency_share", "voice_presence")

N_FFT = 1024  # 46 ms, short enough to separate onsets
HOP_LENGTH = 256
N_MELS = 40
FRAME_RATE = SR / HOP_LENGTH  # Hz, 86

WINDOW = 8.9  # seconds, as in librosa's tempogram: a pattern that keeps time this long is a beat

MIN_BEAT_SECONDS = 2.0
SLOWEST, USUAL, FASTEST = 30, 120, 320  # beats per minute
MIN_FLUX = 0.2  # dB per frame; a smaller rise is not an onset, however regular

MIN_VOICE_SECONDS = 3.0  # in less, a beat and syllables look the same
VOICE_BANDS = slice(2, 29)  # 200 to 4500 Hz: formants
SYLLABLES, MODULATION = (2.5, 6.5), (0.5, 20.0)  # Hz
MIN_MODULATION = 0.05  # of the mean square: the envelopes of noise fluctuate this much
SPEECH = 0.5  # share of the modulation of clean speech that lies in SYLLABLES

LOW_RATE = 441  # Hz
MIN_POWER = 1e-10  # -100 dB: the rounding of an offset


def features(y: Array) -> dict[str, float]:
    """Measure a recording.

    Parameters
    ----------
    y : float32 [n] at 22 050 Hz

    Returns
    -------
    tempo : beats per minute, 30 to 320, defined as in librosa.feature.tempo: of several tempi that fit, the one
        nearest to 120, so drums at 180 may be measured as 90, and at 75 as 150; 0 if nothing repeats, or for less
        than 2 s
    beat_strength : 0 to 1, similarity of the onsets one beat later
    low_frequency_share : 0 to 1, share of the energy below 200 Hz
    voice_presence : 0 to 1, share of the modulation with the rate and irregularity of syllables. Speech and rap
        are above 0.7, also over music; slow singing is missed; 0 for less than 3 s
    """
    power = mel(y, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS)
    tempo, beat_strength = _beat(power_to_db(power))
    values = (tempo, beat_strength, _low_frequency_share(y), _voice_presence(np.sqrt(power[VOICE_BANDS])))
    return {name: round(float(value), 3) for name, value in zip(NAMES, values, strict=True)}


def _beat(db: Array) -> tuple[float, float]:
    """Return tempo and beat strength from the autocorrelation of the onset strength, the mean rise of all bands.

    The onset strength is smoothed over 58 ms, because a period of a fractional number of frames would otherwise
    match its double better. Frames that reach beyond the ends are skipped: an excerpt of a recording has no onset
    there.
    """
    edge = N_FFT // 2 // HOP_LENGTH
    onsets = np.maximum(0, np.diff(db[:, edge : db.shape[1] - edge], axis=1)).mean(axis=0)
    if len(onsets) < MIN_BEAT_SECONDS * FRAME_RATE:
        return 0.0, 0.0
    windows, weights = _windows(np.convolve(onsets, hann(6)[1:] / 3, "same"))
    windows = (windows - windows.mean(axis=1, keepdims=True)) * weights
    found, most = _autocorrelation(windows), len(windows) * _autocorrelation(weights[None])
    alike = found / (found[0] + MIN_FLUX**2 * most[0]) * (most[0] / most)
    slowest = min(int(60 * FRAME_RATE / SLOWEST), len(weights) // 2)
    lags = np.arange(math.ceil(60 * FRAME_RATE / FASTEST), slowest)
    before, at, after = (alike[lags + k] for k in (-1, 0, 1))
    score = at * most[lags] / most[0] * np.exp(-0.5 * np.log2(60 * FRAME_RATE / lags / USUAL) ** 2)
    score[(at <= before) | (at < after)] = 0  # not a peak
    best = int(score.argmax())
    if score[best] <= 0:
        return 0.0, 0.0
    rise, fall = at[best] - before[best], at[best] - after[best]
    offset = (rise - fall) / (2 * (rise + fall))  # vertex of the parabola through the three, -0.5 to 0.5
    return 60 * FRAME_RATE / (lags[best] + offset), min(1.0, at[best] + (rise - fall) * offset / 4)


def _low_frequency_share(y: Array) -> float:
    """Return the share of the power that remains at 441 Hz: below 201 Hz, where soxr's passband ends.

    Power is the variance, because an offset is not bass.
    """
    power = y.var()
    return min(1.0, soxr.resample(y, SR, LOW_RATE, quality="HQ").var() / power) if power > MIN_POWER else 0.0


def _voice_presence(envelopes: Array) -> float:
    """Measure voice presence from the spectrum of the envelopes of the bands, float32 [bands, frames].

    After Scheirer and Slaney (1997): energy of the envelopes around 4 Hz, the rate of syllables. A beat has energy
    there, too, in a few narrow peaks; therefore the median over these frequencies counts, not the sum.
    """
    windows, weights = _windows(envelopes)
    n = len(weights)
    if n < MIN_VOICE_SECONDS * FRAME_RATE:
        return 0.0
    mean = windows.mean(axis=-1, keepdims=True)
    spectrum = scipy.fft.rfft((windows - mean) * weights.astype(np.float32), axis=-1)  # stays float32
    energy = (np.abs(spectrum) ** 2).sum(axis=(0, 1)) * 2 / (n * np.dot(weights, weights))
    freqs = np.fft.rfftfreq(n, 1 / FRAME_RATE)
    syllables, modulation = (energy[(freqs >= low) & (freqs <= high)] for low, high in (SYLLABLES, MODULATION))
    irregular = np.median(syllables) * len(syllables)
    everything = modulation.sum() + MIN_MODULATION * (mean**2).sum()
    return min(1.0, irregular / everything / SPEECH) if everything > 0 else 0.0


def _windows(x: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray[np.float64]]:
    """Return half-overlapping windows of the last axis, [..., windows, n], or one, and Hann weights."""
    n = min(x.shape[-1], round(WINDOW * FRAME_RATE))
    return np.lib.stride_tricks.sliding_window_view(x, n, axis=-1)[..., :: max(1, n // 2), :], hann(n + 1)[1:]


def _autocorrelation(x: npt.NDArray) -> npt.NDArray[np.float64]:
    """Sum the autocorrelations [n] of the windows [windows, n]."""
    n = x.shape[1]
    power = (np.abs(np.fft.rfft(x, 2 * n, axis=1)) ** 2).sum(axis=0)
    return np.fft.irfft(power)[:n]
