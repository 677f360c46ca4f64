"""Computes the spectrograms of `spectrum` in PyTorch, for batches and GPUs, and chooses between CPU and GPU.

Every transform is a product of overlapping frames with a matrix, in float32: a few dozen kernels per recording.
PyTorch is imported only when a transform is created or chosen; servers that stay on the CPU do not need it.
"""

from __future__ import annotations

import fcntl
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soxr

from preprocess.spectrum import (
    BINS_PER_OCTAVE,
    N_OCTAVES,
    NUMPY,
    SR,
    Transform,
    check_hop,
    cqt_bases,
    hann,
    mel_filters,
)

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.float32]

HALF_WIDTH = 200  # samples on either side of soxr's filter; beyond them is only rounding
BLOCK = 128  # output samples per row of the halving's product; few, so that its matrix has few zeros
FRAMES = 4096  # frames at a time, 95 s; an hour of frames would take a gigabyte

SECONDS = 30.0  # length of the signal that times the transforms
REPEATS = 9


class TorchTransform:
    """`cqt` and `mel` of `preprocess.spectrum` on a PyTorch device.

    Parameters
    ----------
    device : "cuda", "cuda:1" or "cpu"

    Raises
    ------
    ImportError, RuntimeError
        PyTorch is not installed, or the device cannot be used
    """

    def __init__(self, device: str) -> None:
        import torch

        self._torch, self._device = torch, torch.device(device)
        # Not TensorFloat-32: it rounds each factor to ten bits, an error 66 dB below the peak, and the images show
        # 80 dB. This is PyTorch's default unless an environment variable changes it.
        torch.set_float32_matmul_precision("highest")
        self._bases = [self._put(basis) for basis in cqt_bases()]
        self._halving = self._put(halving())
        self._mel: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}

    def cqt(self, y: Array, *, hop_length: int = 512) -> Array:
        """Compute the magnitude of the constant-Q transform, as `spectrum.cqt` does.

        Parameters
        ----------
        y : float32 [..., n] at 22 050 Hz
        hop_length : samples between frames, a multiple of 64

        Returns
        -------
        float32 [..., 84, 1 + n // hop_length]
        """
        check_hop(hop_length)
        octaves, n_frames, signal = [], 1 + y.shape[-1] // hop_length, self._put(y)
        for octave in reversed(range(N_OCTAVES)):
            basis, hop = self._bases[octave], hop_length >> (N_OCTAVES - 1 - octave)
            parts = []
            for frames in self._frames(signal, len(basis), hop, n_frames):
                response = frames @ basis  # [..., t, 24]: real parts, then imaginary parts
                real, imag = response[..., :BINS_PER_OCTAVE], response[..., BINS_PER_OCTAVE:]
                parts.append(self._torch.hypot(real, imag))
            octaves.append(self._torch.cat(parts, -2))
            if octave:
                signal = self._halve(signal)
        return self._take(self._torch.cat(octaves[::-1], -1))

    def mel(self, y: Array, *, sr: int = SR, n_fft: int = 2048, hop_length: int = 512, n_mels: int = 128) -> Array:
        """Compute the mel power spectrogram, as `spectrum.mel`: [..., n] -> [..., n_mels, 1 + n // hop_length]."""
        key = sr, n_fft, n_mels
        if key not in self._mel:
            self._mel[key] = self._put(hann(n_fft)), self._put(mel_filters(*key).T)
        window, filters = self._mel[key]
        parts = []
        for frames in self._frames(self._put(y), n_fft, hop_length, 1 + y.shape[-1] // hop_length):
            spectrum = self._torch.fft.rfft(frames * window)
            parts.append((spectrum.real.square() + spectrum.imag.square()) @ filters)
        return self._take(self._torch.cat(parts, -2))

    def _frames(self, y: Tensor, n_fft: int, hop_length: int, n_frames: int) -> Iterator[Tensor]:
        """Yield centred frames with zeros beyond both ends, contiguous [..., up to FRAMES, n_fft]."""
        pad = self._torch.nn.functional.pad(y, (n_fft // 2, n_fft // 2 + hop_length))
        view = pad.unfold(-1, n_fft, hop_length)
        for start in range(0, n_frames, FRAMES):
            yield view[..., start : min(start + FRAMES, n_frames), :].contiguous()

    def _halve(self, y: Tensor) -> Tensor:
        """Halve the rate, to ceil(n / 2) samples scaled by sqrt(2): overlapping frames times `halving`."""
        n = (y.shape[-1] + 1) // 2
        blocks = -(-n // BLOCK)
        after = 2 * BLOCK * blocks - y.shape[-1] + HALF_WIDTH
        pad = self._torch.nn.functional.pad(y, (HALF_WIDTH, after))
        frames = pad.unfold(-1, len(self._halving), 2 * BLOCK).contiguous()
        return (frames @ self._halving).flatten(-2)[..., :n]

    def _put(self, values: npt.NDArray) -> Tensor:
        return self._torch.tensor(values, dtype=self._torch.float32, device=self._device)

    def _take(self, values: Tensor) -> Array:
        """Transpose [..., t, bins] to [..., bins, t] in the host's memory."""
        return np.ascontiguousarray(values.transpose(-1, -2).contiguous().cpu().numpy())


@lru_cache(maxsize=1)
def halving() -> Array:
    """Return soxr's HQ halving as a matrix, float32 [2 BLOCK + 2 HALF_WIDTH, BLOCK].

    At 2:1 it is one FIR filter at every second sample: the responses to an impulse at an even and at an odd place
    alternate its taps. The filter is symmetric, so the mean of both sides has less rounding error than either.
    """
    middle = 2048
    taps = np.zeros(2 * HALF_WIDTH + 1)
    for place in (middle, middle + 1):
        impulse = np.zeros(2 * middle)
        impulse[place] = 1
        response = soxr.resample(impulse, 2, 1, quality="HQ")
        distance = place - 2 * np.arange(len(response))
        near = np.abs(distance) <= HALF_WIDTH
        taps[distance[near] + HALF_WIDTH] = response[near]
    taps = (taps + taps[::-1]) / np.sqrt(2)  # the mean, times sqrt(2)
    matrix = np.zeros((2 * BLOCK + 2 * HALF_WIDTH, BLOCK), np.float32)
    for k, column in enumerate(matrix.T):
        column[2 * k : 2 * k + len(taps)] = taps
    return matrix


def choose_transform(spectrum: str, report: Callable[[str], None]) -> Transform:
    """Return the GPU's transform if there is a GPU and it is faster than the CPU, including transfers.

    Parameters
    ----------
    spectrum : "cqt" or "mel"
    report : called with one line: the choice and its reason
    """
    try:
        import torch

        if not torch.cuda.is_available():
            report(f"{spectrum} on the CPU: PyTorch {torch.__version__} finds no GPU")
            return NUMPY
        on_gpu = TorchTransform("cuda")
        transform = Transform(on_gpu.cqt, on_gpu.mel)
        with exclusively():
            gpu, cpu = time_transforms(transform, NUMPY, spectrum=spectrum)
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        report(f"{spectrum} on the CPU: PyTorch cannot use a GPU here ({type(error).__name__}: {reason})")
        return NUMPY
    report(
        f"{spectrum} on the {'GPU' if gpu < cpu else 'CPU'}: {SECONDS:g} s of sound take {gpu * 1e3:.2f} ms on the"
        f" GPU, transfers included, and {cpu * 1e3:.2f} ms on the CPU"
    )
    return transform if gpu < cpu else NUMPY


@contextmanager
def exclusively() -> Iterator[None]:
    """Keep other processes of this machine from timing their transforms meanwhile: all steps start at once."""
    with open(__file__, "rb") as file:  # every process can open it, even on a read-only file system
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def time_transforms(*transforms: Transform, spectrum: str) -> list[float]:
    """Return each transform's median seconds for SECONDS of noise, alternating, after one warm-up each."""
    noise = np.random.default_rng(0).standard_normal(int(SECONDS * SR), np.float32)
    taken: list[list[float]] = [[] for _ in transforms]
    for _ in range(1 + REPEATS):
        for transform, seconds in zip(transforms, taken, strict=True):
            start = time.perf_counter()
            getattr(transform, spectrum)(noise)
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds[1:]) for seconds in taken]
