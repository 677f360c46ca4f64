"""`make lock`: completes constraints.txt, and writes lock files with hashes for the images.

Runs pip once with the interpreter of each Python version, because pip evaluates markers for the interpreter that
runs it. Nothing is installed.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from packaging.utils import canonicalize_name

from requirements.pins import FOLDER, PYTHONS, read

CONSTRAINTS = FOLDER / "constraints.txt"
IMAGE_PYTHON = "3.12"  # of the base image in server/Dockerfile
LOCKS = {"container.lock": ["container.txt"], "export.lock": ["export.txt", "plan.txt"]}
# PyTorch's CPU and CUDA builds are different files on different indexes, so no hash fits both. Both depend on
# these packages; the CUDA build pins its further dependencies itself.
TORCH_NEEDS = ["filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy", "typing-extensions"]
ABOUT_CONSTRAINTS = """\
# Versions of all packages but PyTorch, chosen so that each Python version has wheels; tests run on Python 3.11.
# Written by `make lock`, which keeps the versions that it finds here: to update a package, delete its lines first.
"""
ABOUT_LOCK = """\
# Written by `make lock` for Python {python} on x86-64, from {files} and constraints.txt: for pip --require-hashes.
"""
Package = Mapping[str, Any]  # an entry of pip's installation report


class CannotResolve(Exception):
    """The requirements could not be resolved; the message is one sentence that says why."""


def wanted(files: Iterable[str], python: str) -> list[str]:
    """Return the requirements to resolve: the direct pins, with PyTorch replaced by its dependencies."""
    pinned = [requirement for file in files for requirement in read(FOLDER / file, python)]
    direct = [f"{r.name}{extras(r.extras)}{r.specifier}" for r in pinned if r.name != "torch"]
    return direct if len(direct) == len(pinned) else direct + TORCH_NEEDS


def extras(names: Iterable[str]) -> str:
    """Return extras in the notation of a requirement: "[a,b]", or "" for none."""
    return f"[{','.join(sorted(names))}]" if names else ""


def resolve(python: str, requirements: Sequence[str]) -> dict[str, Package]:
    """Return canonical name -> the package that pip would install on a Python version.

    Raises
    ------
    CannotResolve
        If that Python is not installed, or no set of wheels satisfies the requirements.
    """
    command = [f"python{python}", "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--only-binary=:all:", "--report=-", f"--constraint={CONSTRAINTS}", *requirements]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise CannotResolve(f"python{python} is not on PATH; {', '.join(PYTHONS)} are all needed.") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        reason = next((line for line in lines if line.startswith("ERROR: ")), lines[0]).removeprefix("ERROR: ")
        raise CannotResolve(f"pip finds no set of wheels for Python {python}: {reason}")
    return {canonicalize_name(entry["metadata"]["name"]): entry for entry in json.loads(done.stdout)["install"]}


def constraints(resolved: Mapping[str, Mapping[str, Package]]) -> list[str]:
    """Return the lines of constraints.txt: one per package, or one per version with a marker if there are several.

    Parameters
    ----------
    resolved : Python version -> name -> package
    """
    lines = []
    for name in sorted({name for packages in resolved.values() for name in packages}):
        runs: dict[str, list[str]] = {}  # version -> the Python versions that have it
        for python in resolved:
            if name in resolved[python]:
                runs.setdefault(resolved[python][name]["metadata"]["version"], []).append(python)
        for version, pythons in runs.items():
            spelled = resolved[pythons[-1]][name]["metadata"]["name"]
            lines.append(f"{spelled}=={version}{marker(pythons, runs)}")
    return lines


def marker(pythons: Sequence[str], runs: Mapping[str, Sequence[str]]) -> str:
    """Return the environment marker of one version of a package, empty if it is the only version."""
    others = [python for run in runs.values() for python in run]
    bounds = [f'python_version >= "{pythons[0]}"'] if pythons[0] != others[0] else []
    if pythons[-1] != others[-1]:
        bounds.append(f'python_version < "{others[others.index(pythons[-1]) + 1]}"')
    return " ; " + " and ".join(bounds) if bounds else ""


def hashed(package: Package) -> str:
    """Return a pin with the SHA-256 of the file that pip selected."""
    metadata, archive = package["metadata"], package["download_info"]["archive_info"]
    return f"{metadata['name']}=={metadata['version']} --hash=sha256:{archive['hashes']['sha256']}"


def write_constraints() -> None:
    """Pin the dependencies of test.txt, which include everything but the GPU packages."""
    resolved = {python: resolve(python, wanted(["test.txt"], python)) for python in PYTHONS}
    CONSTRAINTS.write_text(ABOUT_CONSTRAINTS + "".join(f"{line}\n" for line in constraints(resolved)))


def write_locks() -> None:
    """Write the lock files of the images, with the versions of constraints.txt."""
    for file, sources in LOCKS.items():
        packages = resolve(IMAGE_PYTHON, wanted(sources, IMAGE_PYTHON))
        about = ABOUT_LOCK.format(python=IMAGE_PYTHON, files=", ".join(sources))
        (FOLDER / file).write_text(about + "".join(f"{hashed(packages[name])}\n" for name in sorted(packages)))


if __name__ == "__main__":
    try:
        write_constraints()
        write_locks()
    except (CannotResolve, ValueError) as error:
        sys.exit(f"requirements.lock: {error}")
