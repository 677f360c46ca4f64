"""Enhances a waveform before anything else uses it: noise, then loudness, then dynamics; all off by default.

* Noise: power spectral subtraction, over-subtracted and with a spectral floor (Berouti, Schwartz and Makhoul,
  "Enhancement of speech corrupted by acoustic noise", ICASSP 1979).
* Loudness: gain to a target integrated loudness (EBU R 128, which is ITU-R BS.1770), measured by pyloudnorm.
* Dynamics: feed-forward compressor with a smooth branching peak detector in the log domain (Giannoulis, Massberg
  and Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012); hard knee, no make-up gain.

Each step takes the whole waveform and returns a new one. Nothing is clipped: samples are float, full scale is 1.
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

# Maximum length of a frame. The largest powers of two within it are 1024 samples at 22 050 Hz, as in article B
# (systems/profiles.py), and 512 at 16 kHz: 32 ms, because speech changes within 64 ms.
FRAME_SECONDS = 0.05
OVERLAP = 4  # frames that contain each sample; two Hann windows add up to 1.5 everywhere
BLOCK = 64  # frames at a time; few enough for the CPU's cache
QUIETEST_SHARE = 0.1  # share of the frames that the noise is estimated from
FIRST_SECONDS = 1.0
MAX_REMOVED = 10.0  # dB; a note reports more: noise that strong would be audible through any sound
SILENCE = 1e-10  # mean square, -100 dBFS: below the rounding of 16-bit files

LOUDNESS_SECONDS = 0.4  # a gating block of BS.1770, the shortest sound that has a loudness

CONTROL_RATE = 1000  # Hz: the compressor takes a level and sets a gain every millisecond
MIN_PEAK = 1e-10  # -200 dBFS: below any threshold, and has a logarithm

NO_NOISE: dict[Source, str] = {
    "quietest": "No noise was removed: the recording is too short or digital silence.",
    "first": "No noise was removed: the first second, where it is measured, is silent or the whole recording.",
}


@dataclass(frozen=True)
class Enhancement:
    """The enhancement steps to apply to a waveform.

    Attributes
    ----------
    denoise : where to estimate the noise: "quietest" tenth of the frames or "first" second; None: off
    denoise_factor : multiple of the noise power to subtract
    denoise_floor : minimum share of its power that a bin keeps: -30 dB, of the 80 dB that images show
    loudness : target integrated loudness, LUFS; None: off
    compress : whether to reduce sound above the threshold
    compress_threshold : dBFS
    compress_ratio : input dB above the threshold for each output dB
    compress_attack, compress_release : time constants of the gain's fall and rise, ms
    """

    denoise: Source | None = None
    denoise_factor: float = 4.0
    denoise_floor: float = 0.001
    loudness: float | None = None
    compress: bool = False
    compress_threshold: float = -20.0
    compress_ratio: float = 4.0
    compress_attack: float = 5.0
    compress_release: float = 100.0

    @property
    def on(self) -> bool:
        """Whether any step is on."""
        return self.denoise is not None or self.loudness is not None or self.compress


def enhance(y: Array, sr: int, enhancement: Enhancement) -> tuple[Array, dict[str, dict], tuple[str, ...]]:
    """Denoise, normalise the loudness, compress: the steps that are on, in this order.

    Parameters
    ----------
    y : float32 [n] with n > 0; not modified
    sr : Hz
    enhancement : the steps

    Returns
    -------
    samples : float32 [n]; `y` itself if no step changed it
    report : figures of each step that ran, rounded; RESULT's "cleaned"
    notes : a sentence about each step that could not run, or that removed very much
    """
    done: dict[str, dict] = {}
    notes: list[str] = []
    if enhancement.denoise is not None:
        noise = noise_power(y, sr, enhancement.denoise)
        if noise is None:
            notes.append(NO_NOISE[enhancement.denoise])
        else:
            before = _energy(y)
            y = spectral_subtraction(y, noise, factor=enhancement.denoise_factor, floor=enhancement.denoise_floor)
            removed = 10 * math.log10(before / _energy(y))
            done["denoise"] = {"from": enhancement.denoise, "removed_db": round(removed, 2)}
            if removed > MAX_REMOVED:
                notes.append(f"Denoising removed {removed:.1f} dB: it treated most of the recording as noise.")
    if enhancement.loudness is not None:
        loudness = integrated_loudness(y, sr)
        if math.isinf(loudness):
            notes.append(
                f"The loudness was not changed: it cannot be measured without {LOUDNESS_SECONDS} s of sound above"
                " -70 LUFS."
            )
        else:
            y = y * np.float32(10 ** ((enhancement.loudness - loudness) / 20))
            done["loudness"] = {"from": round(loudness, 2), "to": enhancement.loudness}
    if enhancement.compress:
        y, reduction = compress(
            y,
            sr,
            threshold=enhancement.compress_threshold,
            ratio=enhancement.compress_ratio,
            attack=enhancement.compress_attack,
            release=enhancement.compress_release,
        )
        most, mean = float(reduction.max()), float(reduction.mean())
        done["compress"] = {"most_db": round(most, 2), "mean_db": round(mean, 2)}
    return y, done, tuple(notes)


def noise_power(y: Array, sr: int, source: Source) -> Array | None:
    """Estimate the mean power of the noise in each bin of a frame's Fourier transform.

    The estimate uses the complete frames of the first second of a longer waveform ("first"), or the tenth of all
    frames with the least energy ("quietest"). Frames of digital silence are skipped: there the recording was cut
    or faded, and its noise with it.

    Parameters
    ----------
    y : float32 [n] at sr Hz, any length
    sr : Hz
    source : "first" or "quietest"

    Returns
    -------
    float32 [1 + n_fft // 2], where n_fft is the largest power of two within FRAME_SECONDS; None: no usable frame
    """
    n_fft = 1 << int(math.log2(FRAME_SECONDS * sr))
    if source == "first":
        second = int(FIRST_SECONDS * sr)
        y = y[:second] if len(y) > second else y[:0]
    if len(y) < n_fft:
        return None
    energies = _frame_energies(y, n_fft)
    chosen = np.flatnonzero(energies > SILENCE * n_fft)
    if source == "quietest":
        chosen = chosen[np.argsort(energies[chosen], kind="stable")[: math.ceil(QUIETEST_SHARE * len(chosen))]]
    if not len(chosen):
        return None
    frames, window = _frames(y, n_fft), _window(n_fft)
    total = np.zeros(1 + n_fft // 2)
    for start in range(0, len(chosen), BLOCK):
        total += _power(scipy.fft.rfft(frames[chosen[start : start + BLOCK]] * window)).sum(0, dtype=np.float64)
    return (total / len(chosen)).astype(np.float32)


def spectral_subtraction(y: Array, noise: Array, *, factor: float, floor: float) -> Array:
    """Subtract the power of a noise from every frame and keep the phases.

        |S|² <- max(|S|² - factor * noise, floor * |S|²)

    The floor is a share of the bin's own power, as in article B (systems/profiles.py), not of the noise's power as
    in Berouti's paper. Frames have n_fft samples, a periodic Hann window and a hop of a quarter; with a factor of
    0 the result is `y` up to rounding. The result does not depend on BLOCK.

    Parameters
    ----------
    y : float32 [n], any length
    noise : float32 [1 + n_fft // 2], from `noise_power`
    factor : over-subtraction
    floor : minimum share of its power that a bin keeps

    Returns
    -------
    float32 [n]
    """
    n_fft = 2 * (len(noise) - 1)
    hop = _hop(n_fft)
    window = _window(n_fft)
    # Zeros before and after, so that samples at the ends are in as many frames as the others.
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
        for k in reversed(range(OVERLAP)):  # each sample sums its frames in their order
            out[start + k : start + k + len(quarters)] += quarters[:, k]
    return out.reshape(-1)[n_fft - hop :][: len(y)]


def integrated_loudness(y: Array, sr: int) -> float:
    """Return the gated loudness of float32 [n] in LUFS; -inf if it is too short or never above -70 LUFS.

    The K weighting is pyloudnorm's "DeMan", whose filters match BS.1770 at any rate.
    """
    if len(y) < LOUDNESS_SECONDS * sr:
        return -math.inf
    return float(pyloudnorm.Meter(sr, filter_class="DeMan").integrated_loudness(y))


def compress(
    y: Array, sr: int, *, threshold: float, ratio: float, attack: float, release: float
) -> tuple[Array, npt.NDArray[np.float64]]:
    """Reduce the level of sound above a threshold.

    The level is the peak of every millisecond. Above the threshold, `ratio` dB of input become one dB of output.
    The reduction grows with one time constant and shrinks with another; the gain is interpolated linearly between
    the ends of the milliseconds.

    Parameters
    ----------
    y : float32 [n] at sr Hz, n > 0
    sr : Hz
    threshold : dBFS
    ratio : input dB for each output dB above the threshold
    attack, release : milliseconds to follow 1 - 1/e of a change

    Returns
    -------
    samples : float32 [n]
    reduction : float64 [ceil(n / (sr // 1000))], at the end of every millisecond, dB, 0 or more
    """
    hop = sr // CONTROL_RATE
    peaks = np.maximum.reduceat(np.abs(y), np.arange(0, len(y), hop))
    level = 20 * np.log10(np.maximum(peaks, MIN_PEAK, dtype=np.float64))
    wanted = np.maximum(level - threshold, 0) * (1 - 1 / ratio)
    reduction = _smooth(wanted, *(-math.expm1(-1000 * hop / (tau * sr)) for tau in (attack, release)))
    gain = np.concatenate([[1.0], 10 ** (reduction / -20)]).astype(np.float32)
    ramp = np.arange(1, hop + 1, dtype=np.float32) / np.float32(hop)
    gains = gain[:-1, None] + np.diff(gain)[:, None] * ramp
    return y * gains.reshape(-1)[: len(y)], reduction


def _smooth(wanted: npt.NDArray[np.float64], rise: float, fall: float) -> npt.NDArray[np.float64]:
    """Follow a curve from 0: each step covers the share `rise` of the distance up, or `fall` of the way down."""
    at, out = 0.0, []
    for to in wanted.tolist():  # each step needs the previous one; floats are faster than NumPy scalars
        at += (rise if to > at else fall) * (to - at)
        out.append(at)
    return np.array(out)


def _hop(n_fft: int) -> int:
    return n_fft // OVERLAP


def _window(n_fft: int) -> Array:
    return hann(n_fft).astype(np.float32)


def _frames(y: Array, n_fft: int) -> Array:
    """Return the complete frames of n_fft or more samples: a view [frames, n_fft]."""
    return np.lib.stride_tricks.sliding_window_view(y, n_fft)[:: _hop(n_fft)]


def _frame_energies(y: Array, n_fft: int) -> npt.NDArray[np.float64]:
    """Return the sum of squares of each complete frame of n_fft or more samples, without a window: [frames]."""
    hop = _hop(n_fft)
    quarters = y[: len(y) // hop * hop].reshape(-1, hop)
    return np.convolve(np.einsum("ij,ij->i", quarters, quarters), np.ones(OVERLAP), "valid")


def _power(spectrum: npt.NDArray[np.complex64]) -> Array:
    return spectrum.real**2 + spectrum.imag**2


def _energy(y: Array) -> float:
    return float(np.square(y).sum(dtype=np.float64))
