"""Cleaning a waveform before anything is heard of it: noise, then loudness, then dynamics; all off by default.

* Noise: power spectral subtraction, over-subtracted and with a spectral floor (Berouti, Schwartz and Makhoul,
  "Enhancement of speech corrupted by acoustic noise", ICASSP 1979).
* Loudness: gain to a wanted integrated loudness (EBU R 128, which is ITU-R BS.1770), measured by pyloudnorm.
* Dynamics: feed-forward compressor with a smooth branching peak detector in the log domain (Giannoulis, Massberg
  and Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012); hard knee, no make-up gain.

Each takes the whole waveform and returns a new one. Nothing is clipped: samples are float, full scale is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyloudnorm
import scipy.fft

from preprocess.spectrum import hann

Array = npt.NDArray[np.float32]
Source = Literal["quietest", "first"]

FRAME_SECONDS = 0.05
"""Of a frame at most. Powers of two within it: 1024 samples at 22 050 Hz, as article 001 has, and 512 at 16 kHz
(32 ms), since speech does not stand still for 64 ms."""
OVERLAP = 4  # frames that each sample is in; under a Hann window twice, they add up to 1.5 everywhere
BLOCK = 64  # frames at a time: what fits into the cache is faster
QUIETEST_SHARE = 0.1  # share of the frames that the noise is taken from
FIRST_SECONDS = 1.0
MOST_NOISE = 10.0  # dB that can be taken away before it is said: that much noise is heard through any sound
SILENCE = 1e-10  # mean square, -100 dBFS: what is left when a 16-bit file is silent

LOUDNESS_SECONDS = 0.4  # a gating block of BS.1770; nothing shorter has a loudness

CONTROL_RATE = 1000  # Hz: the compressor takes a level and sets a gain every millisecond
LEAST_PEAK = 1e-10  # -200 dBFS: below any threshold, and has a logarithm

NO_NOISE: dict[Source, str] = {
    "quietest": "No noise was removed: the recording is too short or digital silence.",
    "first": "No noise was removed: the first second, where it is measured, is silent or the whole recording.",
}


@dataclass(frozen=True)
class Cleaning:
    """What is done to a waveform."""

    denoise: Source | None = None
    """Where the noise is estimated: in the quietest tenth of the frames or in the first second; None: off."""
    denoise_factor: float = 4.0
    """How many times the noise power is subtracted."""
    denoise_floor: float = 0.001
    """Least share of its power that a bin keeps: -30 dB, of the 80 dB that pictures show."""
    loudness: float | None = None
    """Integrated loudness that the waveform is brought to, LUFS; None: off."""
    compress: bool = False
    """Whether what is louder than the threshold is reduced."""
    compress_threshold: float = -20.0
    """dBFS."""
    compress_ratio: float = 4.0
    """dB above the threshold that come in for each that goes out."""
    compress_attack: float = 5.0
    """Time constant of the gain's fall, ms."""
    compress_release: float = 100.0
    """Time constant of its rise, ms."""

    @property
    def on(self) -> bool:
        """Whether anything is to be done."""
        return self.denoise is not None or self.loudness is not None or self.compress


def clean(y: Array, sr: int, cleaning: Cleaning) -> tuple[Array, dict[str, dict], tuple[str, ...]]:
    """Denoise, bring to a loudness, compress: those that are on, in this order.

    Parameters
    ----------
    y : float32 [n] with n > 0; never written to
    sr : Hz

    Returns
    -------
    float32 [n], `y` itself where nothing was done; what each step did, rounded, for RESULT's "cleaned"; a sentence
    about each step that could not be done, which is missing there
    """
    done: dict[str, dict] = {}
    notes: list[str] = []
    if cleaning.denoise is not None:
        noise = noise_power(y, sr, cleaning.denoise)
        if noise is None:
            notes.append(NO_NOISE[cleaning.denoise])
        else:
            before = _energy(y)
            y = spectral_subtraction(y, noise, factor=cleaning.denoise_factor, floor=cleaning.denoise_floor)
            removed = 10 * math.log10(before / _energy(y))
            done["denoise"] = {"from": cleaning.denoise, "removed_db": round(removed, 2)}
            if removed > MOST_NOISE:
                notes.append(f"Denoising removed {removed:.1f} dB: it treated most of the recording as noise.")
    if cleaning.loudness is not None:
        loudness = integrated_loudness(y, sr)
        if math.isinf(loudness):
            notes.append(
                f"The loudness was not changed: it cannot be measured without {LOUDNESS_SECONDS} s of sound above"
                " -70 LUFS."
            )
        else:
            y = y * np.float32(10 ** ((cleaning.loudness - loudness) / 20))
            done["loudness"] = {"from": round(loudness, 2), "to": cleaning.loudness}
    if cleaning.compress:
        y, reduction = compress(
            y,
            sr,
            threshold=cleaning.compress_threshold,
            ratio=cleaning.compress_ratio,
            attack=cleaning.compress_attack,
            release=cleaning.compress_release,
        )
        most, mean = float(reduction.max()), float(reduction.mean())
        done["compress"] = {"most_db": round(most, 2), "mean_db": round(mean, 2)}
    return y, done, tuple(notes)


def noise_power(y: Array, sr: int, source: Source) -> Array | None:
    """Mean power of the noise in each bin of a frame's Fourier transform.

    It is taken from the whole frames of the first second of a longer waveform ("first") or from the tenth of all
    frames that have the least energy ("quietest"). Frames of digital silence are left out: in them the recording
    was cut or faded, and its noise with it.

    Parameters
    ----------
    y : float32 [n] at sr Hz, any length

    Returns
    -------
    float32 [1 + n_fft // 2], where n_fft is the largest power of two within FRAME_SECONDS; None: no such frame
    """
    n_fft = 1 << int(math.log2(FRAME_SECONDS * sr))
    if source == "first":
        second = int(FIRST_SECONDS * sr)
        y = y[:second] if len(y) > second else y[:0]
    if len(y) < n_fft:
        return None
    energies = _frame_energies(y, n_fft)
    heard = np.flatnonzero(energies > SILENCE * n_fft)
    if source == "quietest":
        heard = heard[np.argsort(energies[heard], kind="stable")[: math.ceil(QUIETEST_SHARE * len(heard))]]
    if not len(heard):
        return None
    frames, window = _frames(y, n_fft), _window(n_fft)
    total = np.zeros(1 + n_fft // 2)
    for start in range(0, len(heard), BLOCK):
        total += _power(scipy.fft.rfft(frames[heard[start : start + BLOCK]] * window)).sum(0, dtype=np.float64)
    return (total / len(heard)).astype(np.float32)


def spectral_subtraction(y: Array, noise: Array, *, factor: float, floor: float) -> Array:
    """Subtract the power of a noise from every frame, and keep the phases.

        |S|² <- max(|S|² - factor * noise, floor * |S|²)

    The floor is a share of the bin's own power, as in article 001, and not of the noise's as in Berouti's paper.
    Frames of n_fft samples under a periodic Hann window, every quarter of them; with a factor of 0 the result is
    `y` up to rounding. It does not depend on BLOCK.

    Parameters
    ----------
    y : float32 [n], any length
    noise : float32 [1 + n_fft // 2], of `noise_power`
    factor : over-subtraction
    floor : least share of its power that a bin keeps

    Returns
    -------
    float32 [n]
    """
    n_fft = 2 * (len(noise) - 1)
    hop = _hop(n_fft)
    window = _window(n_fft)
    # Zeros before and after: the samples at the ends are in as many frames as the others.
    padded = np.pad(y, (n_fft - hop, n_fft - hop + -len(y) % hop))
    frames = _frames(padded, n_fft)
    out = np.zeros((len(padded) // hop, hop), np.float32)
    subtracted, smallest = np.float32(factor) * noise, np.finfo(np.float32).tiny
    for start in range(0, len(frames), BLOCK):
        spectrum = scipy.fft.rfft(frames[start : start + BLOCK] * window)
        power = _power(spectrum)
        kept = np.maximum(power - subtracted, np.float32(floor) * power)
        spectrum *= np.sqrt(kept / np.maximum(power, smallest))
        quarters = (scipy.fft.irfft(spectrum, n_fft) * (window / np.float32(1.5))).reshape(-1, OVERLAP, hop)
        for k in reversed(range(OVERLAP)):  # so that each sample adds its frames up in their order
            out[start + k : start + k + len(quarters)] += quarters[:, k]
    return out.reshape(-1)[n_fft - hop :][: len(y)]


def integrated_loudness(y: Array, sr: int) -> float:
    """Gated loudness of float32 [n] in LUFS, -inf where it has none: too short, or nowhere above -70 LUFS.

    The K weighting is pyloudnorm's "DeMan", whose filters are those of BS.1770 at any rate.
    """
    if len(y) < LOUDNESS_SECONDS * sr:
        return -math.inf
    return float(pyloudnorm.Meter(sr, filter_class="DeMan").integrated_loudness(y))


def compress(
    y: Array, sr: int, *, threshold: float, ratio: float, attack: float, release: float
) -> tuple[Array, npt.NDArray[np.float64]]:
    """Reduce what is louder than a threshold.

    The level is the peak of every millisecond. Above the threshold, `ratio` dB in make one dB out; the reduction
    follows with one time constant when it grows and another when it shrinks, and becomes a gain that is linear
    between the milliseconds' ends.

    Parameters
    ----------
    y : float32 [n] at sr Hz, n > 0
    threshold : dBFS
    attack, release : milliseconds until 1 - 1/e of a change is followed

    Returns
    -------
    float32 [n], and the reduction at the end of every millisecond, float64 [ceil(n / (sr // 1000))], dB from 0 up
    """
    hop = sr // CONTROL_RATE
    peaks = np.maximum.reduceat(np.abs(y), np.arange(0, len(y), hop))
    level = 20 * np.log10(np.maximum(peaks, LEAST_PEAK, dtype=np.float64))
    wanted = np.maximum(level - threshold, 0) * (1 - 1 / ratio)
    reduction = _smooth(wanted, *(-math.expm1(-1000 * hop / (tau * sr)) for tau in (attack, release)))
    gain = np.concatenate([[1.0], 10 ** (reduction / -20)]).astype(np.float32)
    ramp = np.arange(1, hop + 1, dtype=np.float32) / np.float32(hop)
    gains = gain[:-1, None] + np.diff(gain)[:, None] * ramp
    return y * gains.reshape(-1)[: len(y)], reduction


def _smooth(wanted: npt.NDArray[np.float64], rise: float, fall: float) -> npt.NDArray[np.float64]:
    """Follow a curve from 0, going the share `rise` of the way up or `fall` of the way down with each step."""
    at, out = 0.0, []
    for to in wanted.tolist():  # each step needs the one before it; floats are faster than NumPy's scalars
        at += (rise if to > at else fall) * (to - at)
        out.append(at)
    return np.array(out)


def _hop(n_fft: int) -> int:
    return n_fft // OVERLAP


def _window(n_fft: int) -> Array:
    return hann(n_fft).astype(np.float32)


def _frames(y: Array, n_fft: int) -> Array:
    """The whole frames of at least n_fft samples, a view [frames, n_fft]."""
    return np.lib.stride_tricks.sliding_window_view(y, n_fft)[:: _hop(n_fft)]


def _frame_energies(y: Array, n_fft: int) -> npt.NDArray[np.float64]:
    """Sums of squares of the whole frames of at least n_fft samples, without a window: [frames]."""
    hop = _hop(n_fft)
    quarters = y[: len(y) // hop * hop].reshape(-1, hop)
    return np.convolve(np.einsum("ij,ij->i", quarters, quarters), np.ones(OVERLAP), "valid")


def _power(spectrum: npt.NDArray[np.complex64]) -> Array:
    return spectrum.real**2 + spectrum.imag**2


def _energy(y: Array) -> float:
    return float(np.square(y).sum(dtype=np.float64))
