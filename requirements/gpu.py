"""`make gpu`: installs the packages for an NVIDIA GPU that are available, and reports what the others are for.

TensorRT's libraries come from NVIDIA's own index, which some machines cannot reach. ONNX Runtime with CUDA
installs the same files as ONNX Runtime for CPUs, so the latter is uninstalled first, once pip has found the
former.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from requirements.pins import FOLDER


@dataclass(frozen=True)
class Part:
    """Packages that are installed together or not at all.

    Attributes
    ----------
    title : display name
    file : requirements file
    options : for pip install
    cost : what does not work without it
    replaces : the package with the same files, then the part's own package; if the former is installed, both are
        uninstalled first
    """

    title: str
    file: Path
    options: tuple[str, ...]
    cost: str
    replaces: tuple[str, ...] = ()


CONSTRAINED = (f"--constraint={FOLDER / 'constraints.txt'}",)
PARTS = (
    Part(
        "ONNX Runtime with CUDA",
        FOLDER / "gpu.txt",
        CONSTRAINED,
        "variant cuda, which any NVIDIA GPU can run, and the CUDA packages that the others need",
        replaces=("onnxruntime", "onnxruntime-gpu"),
    ),
    Part(
        "TensorRT-RTX",
        FOLDER / "rtx.txt",
        ("--no-deps",),
        "variant tensorrt_rtx: RTX cards run variant tensorrt or cuda instead",
    ),
    Part(
        "TensorRT",
        FOLDER / "tensorrt.txt",
        CONSTRAINED,
        "variant tensorrt: RTX cards run variant tensorrt_rtx instead, other GPUs cuda",
    ),
)


def install(part: Part, pip: Sequence[str]) -> str | None:
    """Install a part; return pip's error message, or None on success.

    Parameters
    ----------
    pip : command that runs pip
    """
    command = [*pip, "install", "--quiet", *part.options, f"--requirement={part.file}"]
    if part.replaces and not _run([*pip, "show", "--quiet", part.replaces[0]]):
        if error := _run([*command, "--dry-run"]):
            return error
        _run([*pip, "uninstall", "--quiet", "--yes", *part.replaces])
    return _run(command)


def main(parts: Sequence[Part] = PARTS, pip: Sequence[str] = (sys.executable, "-m", "pip")) -> int:
    """Install the parts that are available; return 0, or 2 if the first part is not."""
    missing = []
    for part in parts:
        print(f"Installing {part.title} ...", flush=True)
        if error := install(part, pip):
            missing.append(part)
            print(f"{part.title} could not be installed ({error}). Not available: {part.cost}.", flush=True)
    if missing:
        print("Run make gpu again when the package index can be reached.", flush=True)
    return 2 if parts[0] in missing else 0


def _run(command: Sequence[str]) -> str | None:
    """Run pip; return its last error line, or None on success."""
    done = subprocess.run(
        [*command, "--disable-pip-version-check"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.strip().splitlines() if line.startswith("ERROR: ")]
    return (lines or ["ERROR: pip gives no reason"])[-1].removeprefix("ERROR: ")


if __name__ == "__main__":
    sys.exit(main())
