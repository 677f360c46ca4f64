"""Prints the package with TensorRT's Python bindings for the libraries of NVIDIA's image; run by the Dockerfile.

The image contains TensorRT's libraries, but not its Python package. Bindings and libraries must have the same
version; otherwise the one cannot run plans that were built with the other. Standard library only.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys


def requirement(library: str, cuda: str) -> str:
    """Return the requirement of the bindings with a library's version, of any build, since only one is published.

    Parameters
    ----------
    library : name under which the loader finds libnvinfer
    cuda : CUDA version of the library, "13.3.0"
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
