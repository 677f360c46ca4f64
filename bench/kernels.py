"""`python -m bench.kernels`: compares the signal processing with librosa on one core (decoding, CQT, mel)."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Sequence

import librosa
import numpy as np
from threadpoolctl import threadpool_limits

from preprocess.audio import load
from preprocess.spectrum import SR, cqt, mel
from sounds import SUBTYPES, collection

Pair = tuple[Callable[[], np.ndarray], Callable[[], np.ndarray]]


def measure_kernels(recordings: Sequence[bytes], repeats: int) -> list[dict]:
    """Measure median ms of each pair, called alternately, and the largest difference relative to the peak."""
    rows: dict[str, list] = {}
    with threadpool_limits(1):
        for data in recordings:
            y = load(data).samples
            for what, pair in _pairs(data, y).items():
                rows.setdefault(what, []).append(_compare(pair, repeats))
    return [
        {
            "what": what,
            "ours_ms": statistics.median(r[0] for r in results),
            "librosa_ms": statistics.median(r[1] for r in results),
            "ratio": statistics.median(r[1] / r[0] for r in results),
            "difference": max(r[2] for r in results),
        }
        for what, results in rows.items()
    ]


def _pairs(data: bytes, y: np.ndarray) -> dict[str, Pair]:
    """Return the pairs of functions to compare: ours, librosa's."""

    def librosa_mel(n_fft: int, hop_length: int, n_mels: int) -> np.ndarray:
        return librosa.feature.melspectrogram(y=y, sr=SR, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels)

    return {
        "decode, downmix, resample": (
            lambda: load(data).samples,
            lambda: librosa.load(io.BytesIO(data), sr=SR)[0],
        ),
        "cqt 84/512": (lambda: cqt(y), lambda: np.abs(librosa.cqt(y, sr=SR))),
        "mel 128/2048/512": (lambda: mel(y), lambda: librosa_mel(2048, 512, 128)),
        "mel 40/1024/256": (
            lambda: mel(y, n_fft=1024, hop_length=256, n_mels=40),
            lambda: librosa_mel(1024, 256, 40),
        ),
    }


def _compare(pair: Pair, repeats: int) -> tuple[float, float, float]:
    """Return median ms of both, and the largest difference of their results."""
    ours, theirs = (function() for function in pair)  # warm
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, taken in zip(pair, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append((time.perf_counter() - start) * 1e3)
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    return statistics.median(times[0]), statistics.median(times[1]), difference


def main() -> None:
    """Print our and librosa's milliseconds for generated recordings of 30 s as WAV, FLAC and MP3."""
    print(f"{'':36} {'ours':>8} {'librosa':>8} {'ratio':>6} {'difference':>10}")
    for kind in SUBTYPES:
        for row in measure_kernels(collection(4, kind=kind), repeats=15):
            if kind == "MP3" or row["what"].startswith("decode"):
                what = f"{kind}: {row['what']}" if row["what"].startswith("decode") else row["what"]
                print(
                    f"{what:36} {row['ours_ms']:8.2f} {row['librosa_ms']:8.2f} {row['ratio']:6.2f}"
                    f" {row['difference']:10.1e}"
                )


if __name__ == "__main__":
    main()
