"""How the networks run on this machine: one model repository, several configurations of each network.

A variant is the name of a file `configs/<variant>.pbtxt` beside a network's `config.pbtxt`, chosen with Triton's
--model-config-name; a network without that file keeps its `config.pbtxt`: ONNX Runtime, which runs everywhere.
"""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass
from pathlib import Path

from server.errors import ServerError

PORTABLE = "onnxruntime"
INT8 = "openvino_int8"  # only when asked for: its answers differ a little
VARIANTS = (PORTABLE, "openvino", INT8)

# CPU features with which OpenVINO multiplies in bfloat16, twice (AVX512_BF16) to six times (AMX) as fast as
# ONNX Runtime in float32. Without them the two are equally fast, and float32 is the more exact.
BFLOAT16_FEATURES = {"amx_bf16": "AMX", "avx512_bf16": "AVX512_BF16"}


@dataclass(frozen=True)
class Machine:
    """What decides between the variants.

    Attributes
    ----------
    features : CPU features as Linux names them
    openvino : whether the package is installed
    """

    features: frozenset[str]
    openvino: bool

    @classmethod
    def here(cls) -> Machine:
        """The machine this runs on."""
        features: frozenset[str] = frozenset()
        if platform.machine() == "x86_64":
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            features = frozenset(next((line for line in lines if line.startswith("flags")), "").split())
        return cls(features, importlib.util.find_spec("openvino") is not None)


def choose(requested: str, machine: Machine) -> tuple[str, str]:
    """Decide for a variant.

    Parameters
    ----------
    requested : "auto" or the name of a variant

    Returns
    -------
    variant, and why

    Raises
    ------
    ServerError
        the requested variant cannot run here
    """
    if requested in ("openvino", INT8) and not machine.openvino:
        raise ServerError(
            f"Variant {requested} needs the package openvino; install it, or start with --variant onnxruntime"
        )
    if requested != "auto":
        return requested, "as asked"
    fast = [name for flag, name in BFLOAT16_FEATURES.items() if flag in machine.features]
    if not fast:
        return PORTABLE, "this CPU has neither AMX nor AVX512_BF16, so OpenVINO would gain nothing"
    if not machine.openvino:
        return PORTABLE, f"this CPU has {fast[0]}, but the package openvino, which would use it, is not installed"
    return "openvino", f"this CPU has {fast[0]}, with which OpenVINO computes in bfloat16"
