"""Collects the packages for a GPU machine without a network, in pieces that can be copied one by one.

A piece is a folder with a part of one archive (wheels and a Python) and the SHA-256 of that archive. The versions
are those of requirements/*.txt; PyTorch and CUDA must be on the machine.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Collection, Sequence
from pathlib import Path

from bench.errors import BenchError
from export.files import sha256
from requirements.lock import TORCH_NEEDS, CannotResolve, resolve, wanted
from requirements.pins import FOLDER, PYTHONS, versions

FILES = ("export.txt", "container.txt", "client.txt", "bench.txt")
# Packages of test.txt that article A, the reports and the GPU tests import.
TESTS = ("librosa", "matplotlib", "pytest")
# File -> package that is downloaded without its dependencies: CUDA is on the machine, and of the other only the
# server is used.
ALONE = {"gpu.txt": "onnxruntime-gpu", "triton.txt": "nvidia-pytriton"}
# Packages whose files another package provides.
REPLACED = ("onnxruntime",)
ARCHIVE, SUMS = "packages.tar.gz", "SHA256SUMS"
GZIP = 1  # wheels are compressed already: xz would take minutes to save a fifth
MIB = 1 << 20
NOT_NEEDED = ("__pycache__", "site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3")


def prepare(folder: Path, python: str, mib: int, there: Collection[str]) -> list[Path]:
    """Download the packages, pack them and split the archive.

    Parameters
    ----------
    folder : folder for the pieces, and for `wheels`, which the next call reuses
    python : Python version of the GPU machine, "3.12", which must be on PATH here, too
    mib : size of a piece in MiB
    there : names of packages that the GPU machine has in a suitable version

    Returns
    -------
    the pieces

    Raises
    ------
    BenchError
        If there is no such Python, no wheel of a package, or no package index.
    """
    if python not in PYTHONS:
        raise BenchError(f"--python is {python!r}, not one of {', '.join(PYTHONS)}")
    if mib < 1:
        raise BenchError(f"--mib is {mib}; it must be at least 1")
    home = find_python(python)
    archive = folder / ARCHIVE
    pack(download(packages(python, there), python, folder / "wheels"), python, home, archive)
    pieces = cut(archive, folder, mib * MIB)
    archive.unlink()
    return pieces


def packages(python: str, there: Collection[str]) -> list[str]:
    """Return the packages to download, each with a version: "numpy==1.26.4"."""
    tested, alone = versions(FOLDER / "test.txt", python), {}
    for file, name in ALONE.items():
        alone[name] = versions(FOLDER / file, python)[name]
    try:
        needed = resolve(python, [*wanted(FILES, python), *(f"{name}=={tested[name]}" for name in TESTS)])
    except CannotResolve as error:
        raise BenchError(str(error)) from error
    found = {name: package["metadata"]["version"] for name, package in needed.items()} | alone
    left_out = {*REPLACED, *TORCH_NEEDS, *there}
    return [f"{name}=={version}" for name, version in sorted(found.items()) if name not in left_out]


def download(pins: Sequence[str], python: str, wheels: Path) -> list[Path]:
    """Download the wheels of exactly these packages to a folder, reusing those that are there."""
    wheels.mkdir(parents=True, exist_ok=True)
    fresh = wheels.with_name("new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = [f"python{python}", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", f"--find-links={wheels}", f"--dest={fresh}", *pins]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip gives no reason"]
        raise BenchError(f"the wheels cannot be downloaded: {lines[-1].removeprefix('ERROR: ')}")
    shutil.rmtree(wheels)
    fresh.rename(wheels)
    return sorted(wheels.iterdir())


def find_python(python: str) -> Path:
    """Return the folder of the Python on PATH; it is packed for machines whose own has no shared library.

    Raises
    ------
    BenchError
        If it is missing, or has no shared library either.
    """
    command = shutil.which(f"python{python}")
    if command is None:
        raise BenchError(f"python{python} is not on PATH")
    done = subprocess.run([command, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True)
    home, library = Path(done.stdout.strip()), f"lib/libpython{python}.so.1.0"
    if not (home / library).is_file():
        raise BenchError(f"python{python} on PATH has no {home / library}: use a Python that has one")
    return home


def pack(wheels: Sequence[Path], python: str, home: Path, archive: Path) -> None:
    """Write the archive: `wheels/`, and `python/` without modules that are not needed."""

    def chosen(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        last = Path(entry.name).name
        return None if last in NOT_NEEDED or last.startswith("config-") else entry

    with tarfile.open(archive, "w:gz", compresslevel=GZIP) as tar:
        for path in (f"bin/python{python}", f"lib/libpython{python}.so.1.0", f"lib/python{python}"):
            tar.add((home / path).resolve(), f"python/{path}", filter=chosen)
        for wheel in wheels:
            tar.add(wheel, f"wheels/{wheel.name}")


def cut(archive: Path, folder: Path, size: int) -> list[Path]:
    """Split a file into the smallest number of pieces of at most `size` bytes; replaces existing pieces."""
    sums = f"{sha256(archive)}  {archive.name}\n"
    room = size - len(sums)
    count = -(-archive.stat().st_size // room)
    for old in folder.glob("*of*"):
        shutil.rmtree(old)
    pieces = [folder / f"{number:0{len(str(count))}}of{count}" for number in range(1, count + 1)]
    with archive.open("rb") as source:
        for piece in pieces:
            piece.mkdir()
            (piece / SUMS).write_text(sums)
            (piece / f"{archive.name}.part").write_bytes(source.read(room))
    return pieces
