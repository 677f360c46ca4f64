"""Completes constraints.txt and writes the hashes of what the images install: make lock.

pip itself resolves, with the interpreter of each Python version, since it evaluates markers for the one that runs
it; nothing is installed.
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
# PyTorch's CPU and CUDA builds have different files and lie in different places, so that no hash fits both. Both
# need these; what the CUDA build needs beyond, it pins itself.
TORCH_NEEDS = ["filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy", "typing-extensions"]
ABOUT_CONSTRAINTS = """\
# The versions of everything but PyTorch, as all have wheels for each Python version; tests run on Python 3.11.
# Written by `make lock`, which keeps what it finds here: to move a package, delete its lines first.
"""
ABOUT_LOCK = """\
# Written by `make lock` for Python {python} on x86-64, from {files} and constraints.txt: for pip --require-hashes.
"""
Package = Mapping[str, Any]  # an entry of pip's installation report


class CannotResolve(Exception):
    """One sentence that says why there is nothing to write."""


def wanted(files: Iterable[str], python: str) -> list[str]:
    """What to ask pip for: the direct pins, and for PyTorch what it needs."""
    found = [requirement for file in files for requirement in read(FOLDER / file, python)]
    direct = [f"{r.name}{extras(r.extras)}{r.specifier}" for r in found if r.name != "torch"]
    return direct if len(direct) == len(found) else direct + TORCH_NEEDS


def extras(names: Iterable[str]) -> str:
    """Extras as they stand behind a package's name."""
    return f"[{','.join(sorted(names))}]" if names else ""


def resolve(python: str, requirements: Sequence[str]) -> dict[str, Package]:
    """Canonical name -> the file that pip would install on a Python version.

    Raises
    ------
    CannotResolve
        If that Python is not there, or no set of wheels fits the requirements.
    """
    command = [f"python{python}", "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--only-binary=:all:", "--report=-", f"--constraint={CONSTRAINTS}", *requirements]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise CannotResolve(f"python{python} is not on PATH; each of {', '.join(PYTHONS)} is needed.") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        reason = next((line for line in said if line.startswith("ERROR: ")), said[0]).removeprefix("ERROR: ")
        raise CannotResolve(f"pip finds no set of wheels for Python {python}: {reason}")
    return {canonicalize_name(entry["metadata"]["name"]): entry for entry in json.loads(done.stdout)["install"]}


def constraints(resolved: Mapping[str, Mapping[str, Package]]) -> list[str]:
    """One line for a package that has the same version wherever it is needed, else one for each version.

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
    """The marker of one version of a package, empty if there is no other version."""
    others = [python for run in runs.values() for python in run]
    bounds = [f'python_version >= "{pythons[0]}"'] if pythons[0] != others[0] else []
    if pythons[-1] != others[-1]:
        bounds.append(f'python_version < "{others[others.index(pythons[-1]) + 1]}"')
    return " ; " + " and ".join(bounds) if bounds else ""


def hashed(package: Package) -> str:
    """A pin with the SHA-256 of the file that pip chose."""
    metadata, archive = package["metadata"], package["download_info"]["archive_info"]
    return f"{metadata['name']}=={metadata['version']} --hash=sha256:{archive['hashes']['sha256']}"


def write_constraints() -> None:
    """Pin all that the tests need, which is all that runs anywhere but on a GPU."""
    resolved = {python: resolve(python, wanted(["test.txt"], python)) for python in PYTHONS}
    CONSTRAINTS.write_text(ABOUT_CONSTRAINTS + "".join(f"{line}\n" for line in constraints(resolved)))


def write_locks() -> None:
    """Write what the images install, at the versions of the constraints."""
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
