"""Python-based backend `tensorrt`: replaces Triton's C++ backend of that name where that is not installed.

Serves the same config.pbtxt and the same plan; only the C++ backend supports CUDA graphs (`optimization.cuda`).
"""

from plan import Plan
from planned import PlannedNetwork


class TritonPythonModel(PlannedNetwork):
    """A network as a TensorRT plan."""

    kind = Plan
