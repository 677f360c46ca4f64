"""The two Python steps of a genre system, as Triton's Python backend wants them.

    AUDIO | PCM + SAMPLE_RATE, OPTIONS -> GenrePreprocess -> ROWS, INFO
    LOGITS, INFO -> GenrePostprocess -> PROBABILITIES, LABELS, SLICE_PROBABILITIES, RESULT

INFO (JSON) carries what the answer needs to explain itself from the first step to the last.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import triton_python_backend_utils as pb_utils

from postprocess import genre
from preprocess import Limits, prepare
from preprocess.gpu import choose_transform
from preprocess.spectrum import NUMPY
from steps.options import GenreOptions, parse_options
from steps.step import Step, bytes_of, json_tensor, recording_of

DEMO_NOTE = "Demo weights: the label names one of 16 families of generated sound and means nothing for real music."


class GenrePreprocess(Step):
    """Recording -> rows of the network's input."""

    suffix = "_preprocess"

    def initialize(self, args: dict[str, str]) -> None:
        """Take the limits from the `parameters` of config.pbtxt, and choose what computes the spectrum."""
        super().initialize(args)
        self.max_rows = self.parameters.pop("max_rows")
        self.transform = NUMPY
        if (wish := self.parameters.pop("gpu_spectrum", None)) == "auto":
            name, log = args["model_name"], pb_utils.Logger.log_warn  # which is printed by default
            self.transform = choose_transform(self.manifest["spectrum"], lambda line: log(f"{name}: {line}"))
        elif wish is not None:
            raise ValueError(f'{args["model_name"]}: gpu_spectrum must be "auto", not {json.dumps(wish)}')
        self.limits = Limits(**self.parameters)

    def answer(self, request) -> list:
        """ROWS float32 [n, 3, 224, 224] and INFO."""
        options = parse_options(bytes_of(request, "OPTIONS"), GenreOptions, profile=self.manifest["profile"])
        prepared = prepare(
            recording_of(request),
            options.profile,
            spectrum=self.manifest["spectrum"],
            max_rows=self.max_rows,
            jpeg=options.jpeg,
            limits=self.limits,
            transform=self.transform,
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
        return [pb_utils.Tensor("ROWS", prepared.rows), json_tensor("INFO", info)]


class GenrePostprocess(Step):
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
        info = json.loads(bytes_of(request, "INFO"))
        outputs = {
            "PROBABILITIES": lambda: pb_utils.Tensor("PROBABILITIES", probabilities),
            "LABELS": lambda: pb_utils.Tensor("LABELS", self.labels),
            "SLICE_PROBABILITIES": lambda: pb_utils.Tensor("SLICE_PROBABILITIES", slice_probabilities),
            "RESULT": lambda: json_tensor(
                "RESULT", genre.answer(probabilities, slice_probabilities, info, self.manifest)
            ),
        }
        return [outputs[name]() for name in request.requested_output_names()]
