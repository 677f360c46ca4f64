"""The Python step of the plain Triton repository (its 1/model.py): recording -> article A's spectrogram image."""

import triton_python_backend_utils as pb_utils

from bench.baselines.pictures import article_a


class TritonPythonModel:
    """Prepares one recording per request."""

    def execute(self, requests: list) -> list:
        """Answer requests one after the other."""
        responses = []
        for request in requests:
            audio = pb_utils.get_input_tensor_by_name(request, "AUDIO").as_numpy()[0]
            rows = pb_utils.Tensor("ROWS", article_a(audio)[None])
            responses.append(pb_utils.InferenceResponse([rows]))
        return responses
