"""Common base of the Python-based backends `tensorrt` and `tensorrt_rtx`: a network as a plan.

Modules import each other by bare names, because all files of a backend are in one folder when Triton runs it.
"""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from plan import Plan
from rows import NetworkBackend


class PlannedNetwork(NetworkBackend):
    """A network as a plan; `kind` is the class of the plan."""

    kind: type[Plan]
    rows_at_a_time = None

    def load(self, model: Path) -> tuple[dict[str, tuple], dict[str, tuple]]:
        """Load the plan onto the instance's GPU."""
        try:
            self.plan = self.kind(model, self.device)
        except (ImportError, OSError, RuntimeError) as error:
            raise pb_utils.TritonModelException(f"{self.config['name']}: {error}") from error
        return self.plan.inputs, self.plan.outputs

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Compute the named outputs."""
        return self.plan.run(inputs, outputs)

    def finalize(self) -> None:
        """Finish the pending requests, then free the GPU's memory."""
        super().finalize()
        self.plan.close()
