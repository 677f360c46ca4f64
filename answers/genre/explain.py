"""Explains where in an image a genre system found its label, by calling its second network, `<system>_explain`.

That network is optional: `python -m export explain` makes it, and the server loads it if it belongs to the served
weights.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from preprocess import OptionError

# Part of Triton's message about a model that it does not serve.
NOT_LOADED = "is not ready"

Array = npt.NDArray[np.float32]


class Unexplained(OptionError):
    """The explanation network of a system is not served."""

    code = "unexplained"

    def __init__(self, system: str) -> None:
        super().__init__(
            f"OPTIONS: explain needs the network {system}_explain, which this server has not loaded;"
            " run make explain, and restart the server."
        )


def explain(system: str, rows: Array, label: int) -> Array:
    """Compute how much each part of an image is evidence for a label.

    Parameters
    ----------
    system : name, e.g. "vit_b_16_mel"
    rows : float32 [k, 3, 224, 224], the network's input
    label : index of a class

    Returns
    -------
    float32 [k, 14, 14] in [0, 1], row 0 at the top of the image; 0 where there is no evidence for the label

    Raises
    ------
    Unexplained
        the explanation network is not served
    pb_utils.TritonModelException
        the network failed
    """
    response = pb_utils.InferenceRequest(
        model_name=f"{system}_explain",
        requested_output_names=["MAP"],
        inputs=[
            pb_utils.Tensor("ROWS", rows),
            pb_utils.Tensor("CLASS", np.full((len(rows), 1), label, np.int64)),
        ],
    ).exec()
    if response.has_error():
        message = response.error().message()
        if NOT_LOADED in message:
            raise Unexplained(system)
        raise pb_utils.TritonModelException(f"{system}_explain: {message}")
    return pb_utils.get_output_tensor_by_name(response, "MAP").as_numpy().copy()  # the response owns the memory
