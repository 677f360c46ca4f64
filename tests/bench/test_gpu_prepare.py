"""What travels to a GPU machine without a network, and what is made of it there; all made up."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.gpu_check import prepare
from requirements.lock import TORCH_NEEDS, CannotResolve
from requirements.pins import FOLDER, versions
from server.installation import ROOT
from tests.support.wheels import wheel

VERSION = "{}.{}".format(*sys.version_info[:2])
NAMED = f"python{VERSION}"
STAGES = """
import importlib.util, json, sys
import ours, both
nvidia = importlib.util.find_spec("nvidia.cudnn")
theirs = importlib.util.find_spec("theirs") is not None
print(json.dumps([sys.argv[1:], both.origin, theirs, nvidia is not None]))
"""


@pytest.fixture
def resolved(monkeypatch):
    """Pip's resolution without an index: what was asked for, and more."""
    asked = []

    def resolve(python, requirements):
        asked.extend(requirements)
        direct = {r.partition("==")[0].partition("[")[0]: r.partition("==")[2] for r in requirements if "==" in r}
        found = direct | {"llvmlite": "0.50.0"} | dict.fromkeys(TORCH_NEEDS, "1.0")
        return {name: {"metadata": {"version": version}} for name, version in found.items()}

    monkeypatch.setattr(prepare, "resolve", resolve)
    return asked


def test_versions_are_those_of_the_requirements(resolved):
    chosen = dict(pin.split("==") for pin in prepare.packages("3.12", {"llvmlite"}))
    pins = versions(FOLDER / "test.txt", "3.12")
    for name in ("numpy", "av", "tritonclient", "geventhttpclient", "librosa", "onnx", "nvidia-cuda-runtime-cu12"):
        assert chosen.pop(name) == pins[name]
    assert chosen["onnxruntime-gpu"] == versions(FOLDER / "gpu.txt", "3.12")["onnxruntime-gpu"]
    assert chosen["nvidia-pytriton"] == versions(FOLDER / "triton.txt", "3.12")["nvidia-pytriton"]
    assert not chosen.keys() & {"onnxruntime", "torch", "llvmlite", "openvino", "gradio", *TORCH_NEEDS}


def test_what_cannot_be_resolved_is_said(monkeypatch):
    def resolve(python, requirements):
        raise CannotResolve("python3.12 is not on PATH.")

    monkeypatch.setattr(prepare, "resolve", resolve)
    with pytest.raises(BenchError, match="^python3.12 is not on PATH.$"):
        prepare.packages("3.12", ())


@pytest.mark.parametrize(
    ("python", "mib", "words"), [("3.9", 60, "--python is '3.9', not one of 3.10"), ("3.12", 0, "--mib is 0")]
)
def test_other_pythons_and_sizes_are_refused(python, mib, words, tmp_path):
    with pytest.raises(BenchError, match=words):
        prepare.prepare(tmp_path, python, mib, ())


def test_only_what_is_wanted_stays_among_the_wheels(tmp_path, monkeypatch):
    index = tmp_path / "index"
    index.mkdir()
    wheel(index, "one"), wheel(index, "two")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    wheels = tmp_path / "wheels"
    assert len(prepare.download(["one==1.0", "two==1.0"], VERSION, wheels)) == 2
    assert [file.name for file in prepare.download(["one==1.0"], VERSION, wheels)] == ["one-1.0-py3-none-any.whl"]
    shutil.rmtree(index)
    with pytest.raises(BenchError, match="^the wheels cannot be downloaded: .*two"):
        prepare.download(["one==1.0", "two==1.0"], VERSION, wheels)
    assert [file.name for file in wheels.iterdir()] == ["one-1.0-py3-none-any.whl"]  # also without the index


def test_pieces_are_full_and_make_the_archive_again(tmp_path):
    archive = tmp_path / "packages.tar.gz"
    archive.write_bytes(os.urandom(5000))
    (tmp_path / "1of2").mkdir()
    pieces = prepare.cut(archive, tmp_path, 500)
    assert [piece.name for piece in pieces] == [f"{n:02}of12" for n in range(1, 13)]
    assert sorted(tmp_path.glob("*of*")) == pieces
    sizes = [sum(file.stat().st_size for file in piece.iterdir()) for piece in pieces]
    assert sizes[:-1] == [500] * 11 and sizes[-1] <= 500
    assert b"".join((piece / "packages.tar.gz.part").read_bytes() for piece in pieces) == archive.read_bytes()


def write_pieces(work, version, wheels):
    """Pieces as `prepare` makes them, with a Python of this version that says so when it runs."""
    home, named = work.parent / f"home{version}", f"python{version}"
    for file, text in {
        f"bin/{named}": f'#!/bin/sh\necho "came along" >&2; exec {sys.executable} "$@"\n',
        f"lib/lib{named}.so.1.0": "\x7fELF\x01\x01\x01" + 57 * "\0",  # of 32 bits, which a loader passes over
        f"lib/{named}/os.py": "",
        f"lib/{named}/test/long.py": "",
    }.items():
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text(text)
    (home / f"bin/{named}").chmod(0o755)
    prepare.pack(wheels, version, home, work / prepare.ARCHIVE)
    prepare.cut(work / prepare.ARCHIVE, work, 600)
    (work / prepare.ARCHIVE).unlink()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A project with pieces, and a machine whose python3 has packages of its own; what installs there."""
    wheels, project = tmp_path / "wheels", tmp_path / "project"
    wheels.mkdir()
    wheel(wheels, "ours"), wheel(wheels, "both", content="origin = 'ours'")
    b64 = {"nvidia_pytriton.libs__libb64-1a2b.so.0d": "libb64", "nvidia__cuda_runtime__lib__libcudart.so.12": ""}
    wheel(wheels, "triton", **b64)
    for file, text in {
        "bench/__init__.py": "",
        "bench/gpu_check/__init__.py": "",
        "bench/gpu_check/__main__.py": STAGES,
        "server/__init__.py": "",
        "server/installation.py": "import os\ndef find_libpython():\n    os.environ['LIBPYTHON']\n",
    }.items():
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text(text)
    shutil.copy(ROOT / "bench/gpu_check/install.sh", project / "bench/gpu_check")
    work = project / ".gpu_check"
    work.mkdir()
    write_pieces(work, VERSION, sorted(wheels.iterdir()))

    environment = tmp_path / "machine"
    venv.create(environment, symlinks=True)
    [site] = (environment / "lib").glob("python*/site-packages")
    import pip

    (site / "pip").symlink_to(Path(pip.__file__).parent)
    (site / "theirs.py").touch()
    (site / "both.py").write_text("origin = 'theirs'")
    (site / "nvidia/cudnn/lib").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{environment / 'bin'}:{os.environ['PATH']}")

    def install(*words, **variables):
        command = ["bash", str(project / "bench/gpu_check/install.sh"), *words]
        surroundings = {**os.environ, **variables}
        return subprocess.run(command, env=surroundings, cwd=tmp_path, capture_output=True, text=True)

    install.work = work
    return install


def test_the_machine_has_ours_before_its_own(machine):
    done = machine("facts", "--brief", LIBPYTHON="1")
    assert done.stdout == '[["run", "facts", "--brief"], "ours", true, true]\n', done.stderr
    assert "came along" not in done.stderr
    assert sorted(p.name for p in machine.work.iterdir() if "of" not in p.name) == ["venv"]
    [cudnn] = machine.work.glob("venv/lib/python3.*/site-packages/nvidia/cudnn")
    assert cudnn.is_symlink() and (cudnn / "lib").is_dir()
    [library] = machine.work.glob("venv/lib/python3.*/site-packages/nvidia/cuda_runtime/lib/libb64.so.0d")
    assert library.read_text() == "libb64"
    for piece in machine.work.glob("*of*"):
        shutil.rmtree(piece)
    assert machine("facts", LIBPYTHON="1").stdout == '[["run", "facts"], "ours", true, true]\n'  # needs no pieces


def test_a_python_without_its_library_is_replaced(machine):
    done = machine()
    assert "python3 has no shared library; using the Python of the pieces\n" in done.stdout
    assert done.stderr.startswith("came along") and done.stdout.endswith('[["run"], "ours", true, true]\n')
    kept = {str(file.relative_to(machine.work)) for file in (machine.work / "python").rglob("*") if file.is_file()}
    assert kept == {f"python/bin/{NAMED}", f"python/lib/lib{NAMED}.so.1.0", f"python/lib/{NAMED}/os.py"}


def test_nothing_is_done_before_all_pieces_have_come(machine):
    pieces = sorted(machine.work.glob("*of*"))
    aside = machine.work.parent / "aside"
    pieces[1].rename(aside)
    done = machine(LIBPYTHON="1")
    n = len(pieces)
    assert done.returncode == 0 and f"{n - 1} of {n} pieces have arrived" in done.stdout
    assert not (machine.work / "venv").exists()
    aside.rename(pieces[1])
    (pieces[1] / "packages.tar.gz.part").write_bytes(b"another")
    done = machine(LIBPYTHON="1")
    assert done.returncode == 2 and "pieces are damaged, or of different preparations" in done.stderr
    for piece in pieces:
        shutil.rmtree(piece)
    done = machine(LIBPYTHON="1")
    assert done.returncode == 2 and "there are no pieces in .gpu_check: make them with" in done.stderr


def test_pieces_for_another_python_are_refused(machine):
    write_pieces(machine.work, "3.9", [])
    done = machine(LIBPYTHON="1")
    assert done.returncode == 2 and "the pieces are for Python 3.9, but python3 here is Python" in done.stderr
