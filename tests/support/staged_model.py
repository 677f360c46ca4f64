"""The three steps of a system `staged` whose stages take known times, for Triton's Python backend.

It is copied into a model repository by `staged.py`, which says the times, too. The first request for a recording
is cold. A recording that begins with `bad` is refused, one that begins with `bug` breaks its step down. The option
`seconds` keeps the preprocess step busy.
"""

import json
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One of the steps, by the model's name."""

    def initialize(self, args):
        """Keep which step this is, where calls are noted, and what takes how long."""
        self.step = getattr(self, args["model_name"].rpartition("_")[2])
        self.calls = Path(args["model_repository"]) / "calls"
        self.times = json.loads(json.loads(args["model_config"])["parameters"]["times"]["string_value"])
        self.seen = set()

    def execute(self, requests):
        """One response per request."""
        return [self.step(request) for request in requests]

    def preprocess(self, request):
        """A row, and what the other steps need to know of the recording."""
        with self.calls.open("ab") as file:
            file.write(b".")
        audio = value(request, "AUDIO")
        options = json.loads(value(request, "OPTIONS"))
        time.sleep(options.get("seconds", 0))
        if audio.startswith(b"bad"):
            refusal = pb_utils.TritonError("This is no recording.", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        if audio.startswith(b"bug"):
            raise RuntimeError("a bug in the step")
        timings = {}
        for stage in ("decode", "spectrogram"):
            start = time.perf_counter()
            time.sleep(self.times[stage])
            timings[stage] = 1e3 * (time.perf_counter() - start)
        time.sleep(self.times["rest"])
        cold = audio not in self.seen
        self.seen.add(audio)
        info = json.dumps({"timings": timings, "options": options})
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("ROWS", np.full((1, 1), cold, np.float32)),
                pb_utils.Tensor("INFO", np.array([info], object)),
            ]
        )

    def network(self, request):
        """Slow for what is cold."""
        rows = pb_utils.get_input_tensor_by_name(request, "ROWS").as_numpy()
        time.sleep(self.times["cold" if rows.any() else "network"])
        return pb_utils.InferenceResponse([pb_utils.Tensor("LOGITS", np.zeros((1, 2), np.float32))])

    def postprocess(self, request):
        """The answer of a genre system."""
        time.sleep(self.times["postprocess"])
        info = json.loads(value(request, "INFO"))
        told = {"timings": info["timings"]} if info["options"].get("timings") else {}
        result = {
            "model": "staged",
            "label": "Opera",
            "probability": 0.5,
            "top": [{"label": "Opera", "label_zh": "戏曲", "probability": 0.5}],
            "vote": {"label": "Opera", "share": 1.0},
            "slices": [],
            "slices_total": 1,
            "duration": 3.0,
            "profile": "ccmusic",
            "notes": [],
            "weights": {"origin": "demo", "source": "seed 0", "sha256": "00ff", "demo": True},
            "computed": {"device": "CPU", "precision": "float32", "backend": "onnxruntime"},
            **told,
        }
        halves = np.full(2, 0.5, np.float32)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("RESULT", np.array([json.dumps(result)], object)),
                pb_utils.Tensor("PROBABILITIES", halves),
                pb_utils.Tensor("LABELS", np.array(["Opera", "Solo"], object)),
                pb_utils.Tensor("SLICE_PROBABILITIES", halves[None]),
            ]
        )


def value(request, name):
    """The bytes of a BYTES [1] tensor."""
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0]
