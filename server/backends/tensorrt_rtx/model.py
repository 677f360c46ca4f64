"""Python-based backend `tensorrt_rtx`: Triton itself has none of that name."""

from plan import RtxPlan
from planned import PlannedNetwork


class TritonPythonModel(PlannedNetwork):
    """A network as a plan of TensorRT-RTX."""

    kind = RtxPlan
