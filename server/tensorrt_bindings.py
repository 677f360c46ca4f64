"""Says which package has TensorRT's Python bindings for the libraries of NVIDIA's image; a step of the Dockerfile.

The image has TensorRT's libraries and not its Python package. Bindings and libraries must be of one version, or
plans that are built through the one cannot be run by the other. Standard library only.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys


def requirement(library: str, cuda: str) -> str:
    """What pip shall install: the bindings of a library's version, of any build, since only one is published.

    Parameters
    ----------
    library : libnvinfer as the loader finds it
    cuda : version of CUDA that the library is for, "13.3.0"
    """
    nvinfer = ctypes.CDLL(library)
    parts = (getattr(nvinfer, f"getInferLib{part}Version")() for part in ("Major", "Minor", "Patch"))
    version = ".".join(map(str, parts))
    return f"tensorrt-cu{cuda.partition('.')[0]}-bindings=={version}.*"


if __name__ == "__main__":
    library, cuda = ctypes.util.find_library("nvinfer"), os.environ.get("CUDA_VERSION")
    if not library or not cuda:
        sys.exit(
            "This image has no libnvinfer or no CUDA_VERSION; build on NVIDIA's Triton, release 24.12 or later"
        )
    print(requirement(library, cuda))
