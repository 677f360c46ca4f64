"""Python-based backend `tensorrt_rtx`; Triton has no C++ backend for TensorRT-RTX."""

from plan import RtxPlan
from planned import PlannedNetwork


class TritonPythonModel(PlannedNetwork):
    """A network as a plan of TensorRT-RTX."""

    kind = RtxPlan
