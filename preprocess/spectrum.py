"""Computes spectrograms of a waveform: constant-Q transform, mel spectrogram, decibels.

The values equal librosa's (0.10 and 0.11) to 1e-5 of the peak; only the tests need librosa. Filter bases, which
librosa rebuilds on every call, are computed once per parameter set, and the CQT is a real matrix product over
frames instead of a sparse complex one over their Fourier transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.sparse
import soxr

Array = npt.NDArray[np.float32]

C1 = 32.70319566257483  # Hz: 440 * 2 ** ((24 - 69) / 12), the lowest bin of librosa.cqt
SR = 22050  # Hz
BINS_PER_OCTAVE = 12
N_OCTAVES = 7  # C1 to B7, 84 bins
SPARSITY = 0.01  # librosa drops the smallest Fourier coefficients of a filter, up to this share of their sum

# Frames at a time: few enough for the CPU's cache, and for the CQT few enough that BLAS stays on one thread
# (OpenBLAS up to m n k = 4 * 65 536). On two threads it rounds sums differently; a last bit can move a pixel to
# the next colour, JPEG spreads that, and a script's answer would differ from the server's in the third digit.
CQT_BLOCK = 40
MEL_BLOCK = 64


def cqt(y: Array, *, hop_length: int = 512) -> Array:
    """Compute the magnitude of the constant-Q transform: `abs(librosa.cqt(y))` with default parameters.

    This is the recursive method of Schörkhuber and Klapuri (2010): each octave uses the same filter bank on a
    signal of half the rate.

    Parameters
    ----------
    y : float32 [n] at 22 050 Hz, any length
    hop_length : samples between frames, a multiple of 64

    Returns
    -------
    float32 [84, 1 + n // hop_length], from C1 up
    """
    check_hop(hop_length)
    out = np.empty((N_OCTAVES * BINS_PER_OCTAVE, 1 + len(y) // hop_length), np.float32)
    for octave, basis in reversed(list(enumerate(cqt_bases()))):
        rows = slice(octave * BINS_PER_OCTAVE, (octave + 1) * BINS_PER_OCTAVE)
        hop = hop_length >> (N_OCTAVES - 1 - octave)
        for start, frames in _frames(y, len(basis), hop, out.shape[1], CQT_BLOCK):
            response = frames @ basis  # [t, 24]: real parts, then imaginary parts
            real, imag = response[:, :BINS_PER_OCTAVE], response[:, BINS_PER_OCTAVE:]
            out[rows, start : start + len(frames)] = np.hypot(real, imag).T
        if octave:
            y = _halve(y)
    return out


def mel(y: Array, *, sr: int = SR, n_fft: int = 2048, hop_length: int = 512, n_mels: int = 128) -> Array:
    """Compute the mel power spectrogram: `librosa.feature.melspectrogram` with Slaney's scale and norm.

    Parameters
    ----------
    y : float32 [n], any length
    sr : Hz
    n_fft : samples per frame, also the length of the periodic Hann window
    hop_length : samples between frames
    n_mels : bands from 0 Hz to sr / 2

    Returns
    -------
    float32 [n_mels, 1 + n // hop_length]
    """
    window = hann(n_fft).astype(np.float32)
    filters = _sparse_mel_filters(sr, n_fft, n_mels)
    out = np.empty((n_mels, 1 + len(y) // hop_length), np.float32)
    for start, frames in _frames(y, n_fft, hop_length, out.shape[1], MEL_BLOCK):
        spectrum = scipy.fft.rfft(frames * window, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        out[:, start : start + len(frames)] = filters @ np.ascontiguousarray(power.T)
    return out


class Transform(NamedTuple):
    """The functions that compute spectrograms: those of this module (`NUMPY`), or equivalent ones."""

    cqt: Callable[..., Array]
    mel: Callable[..., Array]


NUMPY = Transform(cqt, mel)


def power_to_db(power: Array, *, ref: float = 1.0, amin: float = 1e-10, top_db: float = 80.0) -> Array:
    """Convert power to decibels like librosa.

    10 log10(max(amin, power)) - 10 log10(max(amin, ref)), clipped at `top_db` below the maximum of the result.
    """
    db = 10 * np.log10(np.maximum(np.float32(amin), power)) - np.float32(10 * np.log10(max(amin, ref)))
    return np.maximum(db, db.max() - np.float32(top_db))


def amplitude_to_db(amplitude: Array, *, ref: float = 1.0, amin: float = 1e-5, top_db: float = 80.0) -> Array:
    """Convert magnitude to decibels: `power_to_db` of the squares, with `ref` and `amin` squared, too."""
    return power_to_db(np.square(amplitude), ref=ref**2, amin=amin**2, top_db=top_db)


def _frames(y: Array, n_fft: int, hop_length: int, n_frames: int, block: int) -> Iterator[tuple[int, Array]]:
    """Yield centred frames with zeros beyond both ends: (first frame, contiguous float32 [block, n_fft])."""
    padded = np.pad(y, (n_fft // 2, n_fft // 2 + hop_length))
    view = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    for start in range(0, n_frames, block):
        # A product with the overlapping view is several times slower than the copy.
        yield start, np.ascontiguousarray(view[start : min(start + block, n_frames)])


def check_hop(hop_length: int) -> None:
    """Raise ValueError for a hop that `cqt` cannot halve for each octave."""
    if hop_length % (1 << (N_OCTAVES - 1)):
        raise ValueError(f"hop_length={hop_length} must be a multiple of 64, to be halved for each octave")


def hann(n: int) -> npt.NDArray[np.float64]:
    """Return the periodic Hann window of n samples."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


def _halve(y: Array) -> Array:
    """Halve the rate, to ceil(n / 2) samples scaled by sqrt(2), which keeps the energy per second."""
    half = soxr.resample(y, 2, 1, quality="HQ")
    n = (len(y) + 1) // 2
    half = half[:n] if len(half) >= n else np.pad(half, (0, n - len(half)))
    return half * np.float32(np.sqrt(2))


@lru_cache(maxsize=1)
def cqt_bases() -> tuple[Array, ...]:
    """Compute a matrix per octave, lowest first, float32 [n_fft, 24]: frame @ basis = real | imaginary response.

    This follows librosa's filters.wavelet and vqt: windowed phasors of Q * sr / f samples with L1 norm,
    transformed, made sparse, and scaled by the square root of the octave's decimation and by 1 / sqrt(length) per
    bin. The product with the truncated spectrum is folded back into the time domain.
    """
    ratio = 2.0 ** (2 / BINS_PER_OCTAVE)
    q = (ratio + 1) / (ratio - 1)
    bases = []
    for octave in range(N_OCTAVES):
        freqs = C1 * 2.0 ** (octave + np.arange(BINS_PER_OCTAVE) / BINS_PER_OCTAVE)
        decimation = 2.0 ** (N_OCTAVES - 1 - octave)
        rate = SR / decimation
        lengths = q * rate / freqs
        n_fft = 1 << int(np.ceil(np.log2(lengths.max())))
        filters = np.zeros((BINS_PER_OCTAVE, n_fft), np.complex64)
        for row, freq, length in zip(filters, freqs, lengths, strict=True):
            n = np.arange(-length // 2, length // 2)
            phasor = np.exp(2j * np.pi * freq / rate * n) * hann(len(n))
            start = (n_fft - len(n)) // 2
            row[start : start + len(n)] = phasor / np.abs(phasor).sum() * length / n_fft
        spectrum = _sparsify(scipy.fft.fft(filters, axis=1)[:, : n_fft // 2 + 1])
        # sum_f S[f] X[f] with X = DFT of the frame is sum_n frame[n] (sum_f S[f] exp(-2 pi i f n / N)).
        folded = scipy.fft.fft(spectrum.astype(np.complex128), n_fft, axis=1)
        folded *= np.sqrt(decimation / (q * SR / freqs))[:, None]
        bases.append(np.concatenate([folded.real, folded.imag]).T.astype(np.float32).copy())
    return tuple(bases)


def _sparsify(rows: npt.NDArray[np.complex64]) -> npt.NDArray[np.complex64]:
    """Zero the smallest entries of each row that together hold less than SPARSITY of its magnitude."""
    out = np.zeros_like(rows)
    for source, target in zip(rows, out, strict=True):
        magnitudes = np.sort(np.abs(source))
        share = np.cumsum(magnitudes / magnitudes.sum())
        keep = np.abs(source) >= magnitudes[np.argmin(share < SPARSITY)]
        target[keep] = source[keep]
    return out


@lru_cache(maxsize=8)
def _sparse_mel_filters(sr: int, n_fft: int, n_mels: int) -> scipy.sparse.csr_array:
    """Return `mel_filters` without zeros, 98 % of it; the product does not depend on the number of threads."""
    return scipy.sparse.csr_array(mel_filters(sr, n_fft, n_mels))


def mel_filters(sr: int, n_fft: int, n_mels: int) -> Array:
    """Compute triangular filters on Slaney's mel scale with unit area, float32 [n_mels, 1 + n_fft // 2]."""
    corners = mel_corners(sr, n_mels)
    freqs = np.fft.rfftfreq(n_fft, 1 / sr)
    rising = (freqs - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - freqs) / np.diff(corners)[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * (2 / (corners[2:] - corners[:-2]))[:, None]).astype(np.float32)


def mel_corners(sr: int, n_mels: int) -> npt.NDArray[np.float64]:
    """Return the corners of mel filters in Hz, [n_mels + 2]; filter k rises from corner k and peaks at k + 1.

    The scale is linear below 1 kHz (200 / 3 Hz per mel) and logarithmic above (ln 6.4 / 27 per mel), as in
    Slaney's Auditory Toolbox (1998).
    """
    step, knee_hz, log_step = 200 / 3, 1000.0, np.log(6.4) / 27
    knee = knee_hz / step
    top = knee + np.log(sr / 2 / knee_hz) / log_step if sr / 2 >= knee_hz else sr / 2 / step
    mels = np.linspace(0, top, n_mels + 2)
    return np.where(mels < knee, mels * step, knee_hz * np.exp(log_step * (mels - knee)))
