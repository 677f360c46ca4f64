"""Installs what an NVIDIA GPU needs, as far as it can be had, and says what the rest costs: make gpu.

TensorRT's libraries come from NVIDIA's own index, which not every machine reaches. ONNX Runtime with CUDA has the
files of ONNX Runtime for CPUs, which is therefore uninstalled, but not before its successor is known to be there.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from requirements.pins import FOLDER


@dataclass(frozen=True)
class Part:
    """What is installed in one go, or not at all.

    Attributes
    ----------
    title : what it is, for people
    file : its requirements
    options : of pip
    cost : what is missing without it
    replaces : the package whose files it has, and itself; both go before it comes in the place of the former
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
    """Install a part; why it cannot be had, in pip's words, or None where it is installed now.

    Parameters
    ----------
    pip : the command, to which pip's own command is added
    """
    wanted = [*pip, "install", "--quiet", *part.options, f"--requirement={part.file}"]
    if part.replaces and not _fault([*pip, "show", "--quiet", part.replaces[0]]):
        if fault := _fault([*wanted, "--dry-run"]):
            return fault
        _fault([*pip, "uninstall", "--quiet", "--yes", *part.replaces])
    return _fault(wanted)


def main(parts: Sequence[Part] = PARTS, pip: Sequence[str] = (sys.executable, "-m", "pip")) -> int:
    """Install all that can be had; 0, or 2 where that is not even the first part."""
    missing = []
    for part in parts:
        print(f"Installing {part.title} ...", flush=True)
        if fault := install(part, pip):
            missing.append(part)
            print(f"{part.title} could not be installed ({fault}). What that costs: {part.cost}.", flush=True)
    if missing:
        print("Try again with make gpu when the package index can be reached.", flush=True)
    return 2 if parts[0] in missing else 0


def _fault(command: Sequence[str]) -> str | None:
    """Run pip; its last line of error, or None where it succeeded."""
    done = subprocess.run(
        [*command, "--disable-pip-version-check"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.strip().splitlines() if line.startswith("ERROR: ")]
    return (lines or ["ERROR: pip does not say why"])[-1].removeprefix("ERROR: ")


if __name__ == "__main__":
    sys.exit(main())
