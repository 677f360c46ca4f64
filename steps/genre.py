"""The two Python steps of a genre system, as Triton's Python backend wants them.

    AUDIO | PCM + SAMPLE_RATE, OPTIONS -> GenrePreprocess -> ROWS, INFO
    LOGITS, INFO -> GenrePostprocess -> PROBABILITIES, LABELS, SLICE_PROBABILITIES, RESULT

INFO (JSON) carries what the answer needs to explain itself from the first step to the last.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from postprocess import genre
from preprocess import Limits, RecordingError, prepare
from steps.manifest import read_manifest
from steps.options import parse_options

DEMO_NOTE = "Demo weights: the label names one of 16 families of generated sound and means nothing for real music."


class _Step:
    """What both steps share: the manifest, and requests answered one by one."""

    suffix: str

    def initialize(self, args: dict[str, str]) -> None:
        """Read the manifest and the `parameters` of config.pbtxt."""
        system = args["model_name"].removesuffix(self.suffix)
        self.manifest = read_manifest(Path(args["model_repository"]), system)
        config = json.loads(args["model_config"])
        parameters = config.get("parameters", {})
        self.parameters = {key: json.loads(value["string_value"]) for key, value in parameters.items()}

    def execute(self, requests: list) -> list:
        """One response per request."""
        return [_respond(request, self.answer) for request in requests]


class GenrePreprocess(_Step):
    """Recording -> rows of the network's input."""

    suffix = "_preprocess"

    def initialize(self, args: dict[str, str]) -> None:
        """Take the limits from the `parameters` of config.pbtxt."""
        super().initialize(args)
        self.max_rows = self.parameters.pop("max_rows")
        self.limits = Limits(**self.parameters)

    def answer(self, request) -> list:
        """ROWS float32 [n, 3, 224, 224] and INFO."""
        options = parse_options(_bytes(request, "OPTIONS"), self.manifest["profile"])
        prepared = prepare(
            _recording(request),
            options.profile,
            spectrum=self.manifest["spectrum"],
            max_rows=self.max_rows,
            jpeg=options.jpeg,
            limits=self.limits,
        )
        notes = [DEMO_NOTE] if self.manifest["demo"] else []
        if options.profile != self.manifest["profile"]:
            notes.append(
                f"Prepared with profile {options.profile}; the weights were made for {self.manifest['profile']}."
            )
        info = {
            "options": asdict(options),
            "slices": prepared.slices,
            "slices_total": prepared.slices_total,
            "duration": prepared.duration,
            "seconds_used": prepared.seconds_used,
            "notes": [*notes, *prepared.notes],
            "milliseconds": {stage: round(1000 * s, 3) for stage, s in prepared.seconds.items()},
        }
        return [pb_utils.Tensor("ROWS", prepared.rows), _json_tensor("INFO", info)]


class GenrePostprocess(_Step):
    """Logits of the rows -> the answer."""

    suffix = "_postprocess"

    def initialize(self, args: dict[str, str]) -> None:
        """Prepare what is the same for every request."""
        super().initialize(args)
        self.labels = np.array([label["en"].encode() for label in self.manifest["labels"]], object)

    def answer(self, request) -> list:
        """The outputs that were asked for."""
        logits = pb_utils.get_input_tensor_by_name(request, "LOGITS").as_numpy()
        slice_probabilities = genre.softmax(logits)
        probabilities = genre.aggregate(slice_probabilities)
        info = json.loads(_bytes(request, "INFO"))
        outputs = {
            "PROBABILITIES": lambda: pb_utils.Tensor("PROBABILITIES", probabilities),
            "LABELS": lambda: pb_utils.Tensor("LABELS", self.labels),
            "SLICE_PROBABILITIES": lambda: pb_utils.Tensor("SLICE_PROBABILITIES", slice_probabilities),
            "RESULT": lambda: _json_tensor(
                "RESULT", genre.answer(probabilities, slice_probabilities, info, self.manifest)
            ),
        }
        return [outputs[name]() for name in request.requested_output_names()]


def _respond(request, answer: Callable[..., list]):
    """Answer one request; a refused recording costs nobody else anything."""
    try:
        if request.is_cancelled():
            error = pb_utils.TritonError("The client has cancelled.", pb_utils.TritonError.CANCELLED)
            return pb_utils.InferenceResponse(error=error)
        return pb_utils.InferenceResponse(answer(request))
    except RecordingError as error:
        refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=refusal)


def _recording(request) -> bytes | tuple[np.ndarray, int]:
    """The recording of a request: an encoded file, or samples with their rate."""
    audio = _bytes(request, "AUDIO")
    pcm, rate = (pb_utils.get_input_tensor_by_name(request, name) for name in ("PCM", "SAMPLE_RATE"))
    if (audio is None) == (pcm is None):
        sent = "both" if pcm is not None else "neither"
        raise RecordingError(f"Send either AUDIO (an encoded file) or PCM with SAMPLE_RATE, not {sent}.")
    if audio is not None:
        if rate is not None:
            raise RecordingError("SAMPLE_RATE goes with PCM; an encoded file (AUDIO) carries its own.")
        return audio
    if rate is None:
        raise RecordingError("PCM needs SAMPLE_RATE (Hz, INT32 [1]).")
    return pcm.as_numpy(), int(rate.as_numpy()[0])


def _bytes(request, name: str) -> bytes | None:
    """The only element of a BYTES [1] tensor, None if the optional tensor was not sent."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()[0]


def _json_tensor(name: str, value: dict):
    """JSON on a line of its own, so that `tail -n 1` finds it in a raw HTTP body."""
    text = "\n" + json.dumps(value, ensure_ascii=False) + "\n"
    return pb_utils.Tensor(name, np.array([text.encode()], object))
