"""What the Python-based backends `tensorrt` and `tensorrt_rtx` share: a network as a plan.

Imported by the bare name, because the files of a backend lie beside each other when Triton runs it.
"""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from plan import Plan
from rows import NetworkBackend


class PlannedNetwork(NetworkBackend):
    """A network as a plan; `kind` is whose."""

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
        """The named outputs for some rows."""
        return self.plan.run(inputs, outputs)

    def finalize(self) -> None:
        """Answer what is still waited for, then give the GPU's memory back."""
        super().finalize()
        self.plan.close()
