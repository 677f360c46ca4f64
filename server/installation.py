"""The embedded Triton: the tritonserver in the wheel `nvidia-pytriton`, its backends and its environment.

The wheel contains the server of release 24.10 and its Python backend. This module adds:

* the stub (the process that runs a `model.py`) of the running Python version, copied next to the backend, because
  Triton rejects links that leave the backend's directory;
* `backends/onnxruntime`, `openvino` and `tensorrt`, Python-based backends with the names of the C++ ones, which
  the wheel lacks, and `tensorrt_rtx`, for which no C++ backend exists.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.errors import ServerError

ROOT = Path(__file__).resolve().parent.parent
WHEEL = "nvidia-pytriton"
INSTALL_HINT = f"install it with: pip install --no-deps {WHEEL}==0.7.0 'numpy<2'"


@dataclass(frozen=True)
class Installation:
    """Paths of an embedded Triton.

    Attributes
    ----------
    version : version of the wheel
    binary : tritonserver
    backends : for --backend-directory
    caches : for --cache-directory
    libraries : directories for the LD_LIBRARY_PATH of the server process only
    """

    version: str
    binary: Path
    backends: Path
    caches: Path
    libraries: tuple[Path, ...]

    def environment(self) -> dict[str, str]:
        """Return the environment of the server process, which its Python steps inherit."""
        libraries = [str(path) for path in self.libraries]
        inherited = os.environ.get("LD_LIBRARY_PATH")
        return {
            # Several steps run in parallel, so each uses one thread; the networks set their own number.
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *([inherited] if inherited else [])]),
            # The stub finds its packages through the first `python` on PATH.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }


def find_installation(cache: Path = ROOT / ".cache" / "backends") -> Installation:
    """Find the wheel's tritonserver and lay out a backend directory for it.

    Parameters
    ----------
    cache : folder of the backend directories, one per version and content

    Raises
    ------
    ServerError
        If the wheel is missing, or this Python cannot run its steps.
    """
    spec = importlib.util.find_spec("pytriton")
    bundle = Path(spec.origin).parent / "tritonserver" if spec and spec.origin else None
    if bundle is None or not (bundle / "bin" / "tritonserver").is_file():
        raise ServerError(f"Triton's server is not installed (no {WHEEL} in {sys.prefix}); {INSTALL_HINT}")
    version = importlib.metadata.version(WHEEL)
    check_numpy(importlib.metadata.version("numpy"))
    libpython = find_libpython()
    return Installation(
        version=version,
        binary=bundle / "bin" / "tritonserver",
        backends=_lay_out_backends(bundle, version, cache),
        caches=bundle / "caches",
        libraries=(bundle.parent.parent / "nvidia_pytriton.libs", *([libpython.parent] if libpython else [])),
    )


def check_numpy(version: str) -> None:
    """Reject NumPy 2: the wheel's stub was compiled for NumPy 1 and crashes with version 2.

    Raises
    ------
    ServerError
    """
    if int(version.split(".")[0]) >= 2:
        raise ServerError(
            f"NumPy {version} crashes Triton 24.10's Python steps; install NumPy 1: pip install 'numpy<2'"
        )


def find_stub(bundle: Path, version: tuple[int, int] = sys.version_info[:2]) -> Path:
    """Return the stub for a Python version.

    Raises
    ------
    ServerError
        If the wheel has none for this version.
    """
    wanted = "{}.{}".format(*version)
    stubs = bundle / "python_backend_stubs"
    stub = stubs / wanted / "triton_python_backend_stub"
    if not stub.is_file():
        known = sorted((path.name for path in stubs.iterdir()), key=lambda name: int(name.split(".")[1]))
        raise ServerError(
            f"Triton cannot run its steps with Python {wanted}, only with {', '.join(known)}; "
            "create the virtual environment with one of these"
        )
    return stub


def find_libpython() -> Path | None:
    """Return the shared library of the running Python, which the stub links; None if the loader finds it itself.

    Raises
    ------
    ServerError
        If this Python was built without one (a static Python).
    """
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    libdir, multiarch = (sysconfig.get_config_var(key) or "" for key in ("LIBDIR", "MULTIARCH"))
    for folder in (Path(sys.base_prefix, "lib"), Path(libdir), Path(libdir, multiarch)):
        if (folder / name).is_file():
            return folder / name
    with suppress(OSError):
        ctypes.CDLL(name)
        return None
    raise ServerError(
        f"This Python ({sys.base_prefix}) has no shared library {name}, which Triton's Python steps link; "
        "create the virtual environment with a Python that has it (Debian: apt install "
        f"{name.partition('.so')[0]})"
    )


def _lay_out_backends(bundle: Path, version: str, cache: Path) -> Path:
    """Return a backend directory with copies of the wheel's Python backend, the stub and our own backends.

    Its name contains a digest of its sources, so that a changed backend gets a new directory.
    """
    ours = Path(__file__).with_name("backends")
    python = {
        file.name: file
        for file in (
            bundle / "backends" / "python" / "libtriton_python.so",
            bundle / "backends" / "python" / "triton_python_backend_utils.py",
            find_stub(bundle),
        )
    }
    shared = {file.name: file for file in ours.glob("*.py")}
    contents = {"python": python} | {
        model.parent.name: {**shared, "model.py": model} for model in sorted(ours.glob("*/model.py"))
    }
    digest = hashlib.sha256(f"{version} {sys.version_info[:2]}".encode())
    for model in sorted(ours.rglob("*.py")):
        digest.update(model.read_bytes())
    target = cache / f"{version}-py{sys.version_info.major}{sys.version_info.minor}-{digest.hexdigest()[:12]}"
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=cache))
        unfinished.chmod(0o755)
        for backend, files in contents.items():
            (unfinished / backend).mkdir()
            for name, file in files.items():
                shutil.copy(file, unfinished / backend / name)
        try:
            unfinished.rename(target)
        except OSError:  # another launcher was faster
            shutil.rmtree(unfinished)
    return target
