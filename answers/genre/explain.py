"""Where in a picture a genre system saw its label: the call of its second network, `<system>_explain`.

That network is optional: `python -m export explain` makes it, and it is loaded where it is of the served weights.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from preprocess import OptionError

# What Triton says of a model that it does not serve.
NOT_LOADED = "is not ready"

Array = npt.NDArray[np.float32]


class Unexplained(OptionError):
    """The network that explains is not served."""

    code = "unexplained"


def explain(system: str, rows: Array, label: int) -> Array:
    """How much each part of some pictures counted for a label.

    Parameters
    ----------
    system : name, "vit_b_16_mel"
    rows : float32 [k, 3, 224, 224], as the network saw them
    label : number of a class

    Returns
    -------
    float32 [k, 14, 14] in [0, 1], row 0 at the top of the picture; a map is 0 where nothing spoke for the label

    Raises
    ------
    Unexplained
        the network that explains is not served
    pb_utils.TritonModelException
        it failed
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
        said = response.error().message()
        if NOT_LOADED in said:
            raise Unexplained(
                f"OPTIONS: explain needs the network {system}_explain, which this server has not loaded;"
                " run make explain, and restart the server."
            )
        raise pb_utils.TritonModelException(f"{system}_explain: {said}")
    return pb_utils.get_output_tensor_by_name(response, "MAP").as_numpy().copy()  # it lies in the response
