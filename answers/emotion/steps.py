"""The two Python steps of a speech emotion system, for Triton's Python backend.

    AUDIO | PCM + SAMPLE_RATE, OPTIONS -> EmotionPreprocess -> WAV, LENGTH, INFO
    FEATURES, FRAME_LOGITS, INFO -> EmotionPostprocess
        -> SCORES, LABELS, FRAME_SCORES, SEGMENTS, EMBEDDING, FRAME_EMBEDDINGS, RESULT

INFO (JSON) is the metadata of the recording that the postprocess step needs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import triton_python_backend_utils as pb_utils

from answers.emotion import answer as emotion
from answers.emotion.info import EmotionInfo
from answers.emotion.options import EmotionOptions
from answers.info import InputError
from answers.options import check_fitted, parse_options
from answers.step import Step, bytes_of, check_finite, json_tensor, recording_of, request_sha256
from preprocess import Enhancement, Limits, prepare_speech
from systems.lengths import BUCKETS, COARSE_BUCKETS

DEMO_NOTE = "Demo weights: the emotion names one of 9 families of generated sound and means nothing about speech."


class EmotionPreprocess(Step):
    """Turns a recording into windows of samples, the rows of the network."""

    suffix = "_preprocess"

    def initialize(self, args: dict[str, str]) -> None:
        """Read the limits and the lengths of rows from the `parameters` of config.pbtxt."""
        super().initialize(args)
        self.buckets = BUCKETS
        if (buckets := self.parameters.pop("buckets", None)) == "coarse":
            self.buckets = COARSE_BUCKETS
        elif buckets is not None:
            raise ValueError(f'{args["model_name"]}: buckets must be "coarse", not {json.dumps(buckets)}')
        self.limits = Limits(**self.parameters)

    def answer(self, request: pb_utils.InferenceRequest) -> list[pb_utils.Tensor]:
        """Return WAV float32 [windows, samples], LENGTH int64 [windows, 1] and INFO."""
        text = bytes_of(request, "OPTIONS")
        options = parse_options(text, EmotionOptions)
        check_fitted(options, self.manifest)
        recording = recording_of(request)
        prepared = prepare_speech(
            recording, limits=self.limits, buckets=self.buckets, enhancement=options.part(Enhancement)
        )
        if self.manifest["demo"]:
            prepared = replace(prepared, notes=(DEMO_NOTE, *prepared.notes))
        info = EmotionInfo.of(prepared, options, request_sha256(recording, text))
        return [
            pb_utils.Tensor("WAV", prepared.wav),
            pb_utils.Tensor("LENGTH", prepared.lengths),
            json_tensor("INFO", info.to_json()),
        ]


class EmotionPostprocess(Step):
    """Turns features and logits of the frames into the answer."""

    suffix = "_postprocess"

    def initialize(self, args: dict[str, str]) -> None:
        """Prepare the labels, which are the same for every request."""
        super().initialize(args)
        self.labels = np.array([label["en"].encode() for label in self.manifest["labels"]], object)

    def answer(self, request: pb_utils.InferenceRequest) -> list[pb_utils.Tensor]:
        """Return the requested outputs."""
        features, logits = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("FEATURES", "FRAME_LOGITS")
        )
        info = EmotionInfo.from_json(bytes_of(request, "INFO") or b"", EmotionOptions)
        check_fitted(info.options, self.manifest)
        check_windows(info.windows, features, logits)
        for own in emotion.own_frames(logits, info.windows):
            check_finite("FRAME_LOGITS", own)
        analysis = emotion.analyse(features, logits, info, self.manifest)
        check_finite("EMBEDDING", analysis.embedding)  # the mean of the features, so it covers them
        outputs = {
            "SCORES": lambda: pb_utils.Tensor("SCORES", analysis.scores),
            "LABELS": lambda: pb_utils.Tensor("LABELS", self.labels),
            "FRAME_SCORES": lambda: pb_utils.Tensor("FRAME_SCORES", analysis.frame_scores),
            "SEGMENTS": lambda: json_tensor("SEGMENTS", analysis.segments),
            "EMBEDDING": lambda: pb_utils.Tensor("EMBEDDING", analysis.embedding),
            "FRAME_EMBEDDINGS": lambda: pb_utils.Tensor("FRAME_EMBEDDINGS", analysis.frame_embeddings),
            "RESULT": lambda: json_tensor(
                "RESULT", emotion.to_result(analysis, info, self.manifest) | self.runtime
            ),
        }
        return [outputs[name]() for name in request.requested_output_names()]


def check_windows(windows: Sequence[Sequence[int]], features: np.ndarray, logits: np.ndarray) -> None:
    """Raise InputError if INFO's windows do not match the rows, or do not follow one another from frame 0."""
    rows, frames = features.shape[:2]
    if logits.shape[:2] != (rows, frames):
        raise InputError(
            f"FEATURES has {rows} rows of {frames} frames, FRAME_LOGITS {len(logits)} of {logits.shape[1]}."
        )
    if len(windows) != rows or not rows:
        raise InputError(f"FEATURES has {rows} rows, INFO {len(windows)} windows; each row needs one window.")
    end = 0
    for first, start, stop in windows:
        if start != end or not first <= start < stop <= first + frames:
            raise InputError(
                f"INFO: the window {[first, start, stop]} must start at frame {end} and lie in a row of {frames}."
            )
        end = stop
