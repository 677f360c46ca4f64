"""Reports, before pip installs PyTorch, that its CUDA build would come, and how to get the smaller CPU build.

A package index holds one build of PyTorch for Linux on x86-64; PyPI's requires CUDA. PyTorch's own index for the
CPU holds builds named +cpu. Where PIP_EXTRA_INDEX_URL names that index, pip prefers them.
"""

import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata

from packaging.version import Version

from requirements.pins import FOLDER, versions

# `python -m bench.downloads` measures the sizes.
NOTICE = (
    "pip is about to download PyTorch with CUDA, 2.7 GB. Without an NVIDIA GPU the CPU build, 0.2 GB, is enough:"
    " press Ctrl-C and repeat the command with PIP_EXTRA_INDEX_URL=<address> before it, where <address> is the"
    " package index that PyTorch's installation page names for the CPU."
)


def brings_cuda(pip: Sequence[str] = (sys.executable, "-m", "pip")) -> bool:
    """Whether pip would install a build of PyTorch that is not for the CPU alone.

    False where PyTorch is installed already, and where pip finds none: its own error follows when it installs. The
    question downloads nothing; a dry run of older versions of pip would download the whole wheel.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    wanted = versions(FOLDER / "export.txt", python)["torch"]
    if any(Version(each.version).public == wanted for each in metadata.distributions(name="torch")):
        return False
    done = subprocess.run([*pip, "index", "versions", "torch"], capture_output=True, text=True)
    listed = done.stdout.partition("Available versions:")[2].partition("\n")[0].split(",")
    builds = [version for version in map(Version, filter(str.strip, listed)) if version.public == wanted]
    return bool(builds) and not (max(builds).local or "").startswith("cpu")


if __name__ == "__main__":
    if brings_cuda():
        print(NOTICE, flush=True)
