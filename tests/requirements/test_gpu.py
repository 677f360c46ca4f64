"""`make gpu` with a folder in the place of the package index: what is installed, and what is said of the rest."""

import subprocess
import sys
import venv
import zipfile

import pytest

from requirements import gpu
from requirements.gpu import PARTS, Part
from tests.support.wheels import wheel


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An index with all three parts; what installs them into an environment of its own; and what is in that.

    ONNX Runtime for CPUs is there already.
    """
    index, environment = tmp_path / "index", tmp_path / "venv"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    venv.create(environment, symlinks=True)
    wheel(index, "onnxruntime", content="device = 'CPU'")
    for name in ("onnxruntime-gpu", "rtx", "tensorrt"):
        wheel(index, name, content="device = 'CUDA'")
    pip = [sys.executable, "-m", "pip", f"--python={environment / 'bin/python'}"]
    [site] = (environment / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(index / "onnxruntime-1.0-py3-none-any.whl") as archive:
        archive.extractall(site)
    parts = []
    for name, replaces in (("onnxruntime-gpu", ("onnxruntime", "onnxruntime-gpu")), ("rtx", ()), ("tensorrt", ())):
        file = tmp_path / f"{name}.txt"
        file.write_text(f"{name}==1.0\n")
        parts.append(Part(name, file, (), f"the use of {name}", replaces))

    def run():
        return gpu.main(parts, pip)

    def installed():
        """Packages, and whose files those of ONNX Runtime are."""
        names = {path.name.partition("-")[0] for path in site.glob("*.dist-info")}
        program = [environment / "bin/python", "-c", "import onnxruntime; print(onnxruntime.device)"]
        return names, subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip()

    return index, run, installed


@pytest.mark.slow
def test_without_nvidia_s_index_the_rest_is_installed_and_the_next_time_all(place, capsys):
    index, run, installed = place
    (index / "tensorrt-1.0-py3-none-any.whl").unlink()
    assert run() == 0
    assert installed() == ({"onnxruntime_gpu", "rtx"}, "CUDA")
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == (
        "tensorrt could not be installed (No matching distribution found for tensorrt==1.0). Not available: the"
        " use of tensorrt."
    )
    assert said[-1] == "Run make gpu again when the package index can be reached."
    wheel(index, "tensorrt")
    assert run() == 0
    assert installed() == ({"onnxruntime_gpu", "rtx", "tensorrt"}, "CUDA")
    assert "could not" not in capsys.readouterr().out


def test_where_onnx_runtime_with_cuda_is_not_to_be_had_the_one_for_cpus_stays(place, capsys):
    index, run, installed = place
    (index / "onnxruntime_gpu-1.0-py3-none-any.whl").unlink()
    assert run() == 2
    assert installed() == ({"onnxruntime", "rtx", "tensorrt"}, "CPU")
    assert "onnxruntime-gpu could not be installed (No matching distribution" in capsys.readouterr().out


def test_every_part_has_its_requirements():
    assert [part.file.name for part in PARTS] == ["gpu.txt", "rtx.txt", "tensorrt.txt"]
    assert all(part.file.is_file() for part in PARTS)
