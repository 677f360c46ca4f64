"""Python-based backend `tensorrt`: stands in for Triton's C++ backend of that name where it is not installed.

Serves the same config.pbtxt and the same plan. CUDA graphs (`optimization.cuda`) are the C++ backend's alone.
"""

from plan import Plan
from planned import PlannedNetwork


class TritonPythonModel(PlannedNetwork):
    """A network as a TensorRT plan."""

    kind = Plan
