"""CQT and mel in PyTorch against those in NumPy and librosa, and when they are used."""

import subprocess
import sys

import librosa
import numpy as np
import pytest
import soxr
import torch

from preprocess import gpu, prepare
from preprocess.gpu import BLOCK, HALF_WIDTH, TorchTransform, choose_transform, halving
from preprocess.spectrum import NUMPY, SR, Transform, cqt, mel
from tests.support.project import ROOT
from tests.support.recordings import music

LENGTHS = [1, 2, 3, 100, 512, 513, 5000, 22050, 250_007, 661_500]
MEL_B = {"n_fft": 1024, "hop_length": 256, "n_mels": 40}
CPU = TorchTransform("cpu")


def tone(n: int, hz: float) -> np.ndarray:
    return (0.25 + np.sin(2 * np.pi * hz / SR * np.arange(n))).astype(np.float32)


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n, np.float32)


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference relative to the peak."""
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.float32
    return np.abs(found - expected).max() / np.abs(expected).max()


def signals(n: int) -> list[np.ndarray]:
    return [music(max(n / SR, 0.1) + 0.01, SR, 1)[:n], noise(n), tone(n, 33.0), tone(n, 7000.0)]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.filterwarnings("ignore:n_fft")
def test_spectra_equal_numpy_and_librosa(n):
    for y in signals(n):
        assert distance(CPU.cqt(y), cqt(y)) <= 1e-5
        assert distance(CPU.mel(y), mel(y)) <= 1e-5
    y = signals(n)[0]
    assert distance(CPU.cqt(y), np.abs(librosa.cqt(y, sr=SR))) <= 1e-5
    assert distance(CPU.mel(y), librosa.feature.melspectrogram(y=y, sr=SR)) <= 1e-5


@pytest.mark.parametrize("n", [3, 5000, 250_007])
def test_other_parameters(n):
    for y in signals(n):
        assert distance(CPU.cqt(y, hop_length=64), cqt(y, hop_length=64)) <= 1e-5
        assert distance(CPU.mel(y, **MEL_B), mel(y, **MEL_B)) <= 1e-5
    with pytest.raises(ValueError, match="hop_length=500 must be a multiple of 64"):
        CPU.cqt(y, hop_length=500)


def test_signals_of_a_batch_do_not_mix():
    y = np.stack(signals(100_001))
    for name in ("cqt", "mel"):
        batch = getattr(CPU, name)(y.reshape(2, 2, -1))
        assert batch.shape[:2] == (2, 2) and batch.flags["C_CONTIGUOUS"]
        for found, one in zip(batch.reshape(4, *batch.shape[2:]), y, strict=True):
            assert distance(found, getattr(NUMPY, name)(one)) <= 1e-5


def test_long_signals_are_computed_in_parts(monkeypatch):
    y = noise(200_000)
    monkeypatch.setattr(gpu, "FRAMES", 7)
    assert distance(CPU.cqt(y), cqt(y)) <= 1e-5
    assert distance(CPU.mel(y), mel(y)) <= 1e-5


@pytest.mark.parametrize("n", [1, 2, 5, 2 * BLOCK, 2 * BLOCK + 1, 10_001])
def test_halving_equals_soxr_to_its_ends(n):
    for y in (noise(n), np.ones(n, np.float32)):
        expected = soxr.resample(y, 2, 1, quality="HQ") * np.float32(np.sqrt(2))
        found = CPU._halve(torch.from_numpy(y)).numpy()
        assert distance(found, expected) <= 1e-6


def test_halving_has_all_of_the_filter():
    """What soxr answers farther from an impulse is the rounding of its own transforms."""
    impulse = np.zeros(8192)
    impulse[4096] = 1
    answer = soxr.resample(impulse, 2, 1, quality="HQ")
    far = np.abs(4096 - 2 * np.arange(4096)) > HALF_WIDTH
    assert np.abs(answer[far]).max() < 3e-8 < np.abs(answer[~far]).max()
    assert halving().shape == (2 * BLOCK + 2 * HALF_WIDTH, BLOCK)
    np.testing.assert_allclose(halving().sum(0), np.sqrt(2), atol=1e-5)  # the lowest frequencies pass


def test_products_are_not_rounded_to_tensorfloat32():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        TorchTransform("cpu")
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("spectrum", ["cqt", "mel"])
@pytest.mark.parametrize("profile", ["ccmusic", "article-a", "article-b"])
def test_profiles_draw_with_the_transform_they_are_given(profile, spectrum):
    samples = music(12.0, SR, 1), SR
    calls = []

    def counted(function):
        return lambda *args, **kwargs: calls.append(function) or function(*args, **kwargs)

    transform = Transform(counted(CPU.cqt), counted(CPU.mel))
    found, expected = (
        prepare(samples, profile, spectrum=spectrum, jpeg=False, **given).rows
        for given in ({"transform": transform}, {})
    )
    assert calls == [getattr(CPU, spectrum)]
    # A value on the edge of two colours of the palette may fall on either side.
    assert np.abs(found - expected).max() <= 0.02 and np.abs(found - expected).mean() <= 1e-5


def test_torch_is_not_imported_by_who_stays_on_the_cpu():
    code = "import sys, preprocess, preprocess.gpu; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.fixture
def on_a_gpu(monkeypatch):
    """As if the CPU were one; the times of both are made up."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "TorchTransform", lambda device: {"cuda": CPU}[device])

    def times(gpu_seconds: float, cpu_seconds: float) -> None:
        def time_transforms(*transforms, spectrum):
            assert transforms == (Transform(CPU.cqt, CPU.mel), NUMPY) and spectrum == "cqt"
            return [gpu_seconds, cpu_seconds]

        monkeypatch.setattr(gpu, "time_transforms", time_transforms)

    return times


def test_the_faster_one_is_chosen_and_both_times_are_told(on_a_gpu):
    lines = []
    on_a_gpu(0.0012, 0.0065)
    assert choose_transform("cqt", lines.append) == Transform(CPU.cqt, CPU.mel)
    on_a_gpu(0.0066, 0.0065)
    assert choose_transform("cqt", lines.append) is NUMPY
    on_a_gpu(0.0065, 0.0065)
    assert choose_transform("cqt", lines.append) is NUMPY
    assert lines[0].startswith(
        "cqt on the GPU: 30 s of sound take 1.20 ms on the GPU, transfers included, and 6.50 ms"
    )
    assert lines[1].startswith(
        "cqt on the CPU: 30 s of sound take 6.60 ms on the GPU, transfers included, and 6.50 ms"
    )


def test_without_a_gpu_the_cpu_is_chosen(monkeypatch):
    lines = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_transform("mel", lines.append) is NUMPY
    assert lines == [f"mel on the CPU: PyTorch {torch.__version__} finds no GPU"]


def test_without_torch_the_cpu_is_chosen(monkeypatch):
    lines = []
    monkeypatch.setitem(sys.modules, "torch", None)
    assert choose_transform("mel", lines.append) is NUMPY
    assert "PyTorch cannot use a GPU here (ModuleNotFoundError" in lines[0]


def test_a_gpu_that_fails_is_left_alone(on_a_gpu, monkeypatch):
    lines = []

    def fail(*transforms, spectrum):
        raise RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")

    on_a_gpu(0, 1)
    monkeypatch.setattr(gpu, "time_transforms", fail)
    assert choose_transform("cqt", lines.append) is NUMPY
    assert lines == ["cqt on the CPU: PyTorch cannot use a GPU here (RuntimeError: CUDA error: out of memory)"]


def test_times_are_medians_of_turns_without_the_first(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: clock[0])

    def taking(*seconds: float) -> Transform:
        left = list(seconds)

        def function(y: np.ndarray) -> None:
            assert y.dtype == np.float32 and len(y) == 30 * SR
            clock[0] += left.pop(0)

        return Transform(None, function)

    monkeypatch.setattr(gpu, "REPEATS", 3)
    fast, slow = taking(9.0, 1.0, 2.0, 7.0), taking(0.5, 3.0, 3.0, 3.0)
    assert gpu.time_transforms(fast, slow, spectrum="mel") == [2.0, 3.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")
@pytest.mark.parametrize("n", [3, 5000, 661_500])
def test_spectra_on_a_gpu(n):
    transform = TorchTransform("cuda")
    y = np.stack(signals(n))
    for name in ("cqt", "mel"):
        for found, one in zip(getattr(transform, name)(y), y, strict=True):
            assert distance(found, getattr(NUMPY, name)(one)) <= 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")
def test_the_choice_on_a_gpu_is_measured():
    lines = []
    chosen = choose_transform("cqt", lines.append)
    assert " ms on the GPU, transfers included, and " in lines[0]
    assert (chosen is NUMPY) == lines[0].startswith("cqt on the CPU")
