"""The two Python steps of a genre system, for Triton's Python backend.

    AUDIO | PCM + SAMPLE_RATE, OPTIONS -> GenrePreprocess -> ROWS, KEPT_ROWS, INFO
    LOGITS, EMBEDDING (where the network has one), KEPT_ROWS, INFO -> GenrePostprocess
        -> PROBABILITIES, LABELS, SLICE_PROBABILITIES, EMBEDDING, EXPLANATION, PICTURES, RESULT

INFO (JSON) is the metadata of the recording that the postprocess step needs.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from answers.genre import answer as genre
from answers.genre.explain import Unexplained, explain
from answers.genre.info import GenreInfo
from answers.genre.options import GenreOptions, check_activation, check_explained, check_profile
from answers.genre.rules import FEATURES, Rules, load_rules
from answers.info import InputError
from answers.options import check_fitted, parse_options
from answers.step import Step, bytes_of, check_finite, json_tensor, recording_of, request_sha256
from preprocess import Enhancement, Limits, OptionError, Selection, prepare
from preprocess.axes import ticks
from preprocess.gpu import choose_transform
from preprocess.spectrum import NUMPY
from systems.architectures import ARCHITECTURES
from systems.profiles import Profile
from systems.repository import Repository

# Placeholders for images that were not requested. Not empty: Triton's cache rejects answers with an empty array.
NO_ROWS = np.zeros((1, 1, 1, 1), np.float32)
NO_MAPS, NO_IMAGES = NO_ROWS[0], NO_ROWS.astype(np.uint8)
NO_EMBEDDING = np.zeros(0, np.float32)
DEMO_NOTE = "Demo weights: the label names one of 16 families of generated sound and means nothing for real music."


class GenreStep(Step):
    """The base class of both steps: checks whether options suit the weights."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the rules for the labels, too."""
        super().initialize(args)
        self.rules = load_rules(label_names(self.manifest))

    def check(self, options: GenreOptions) -> None:
        """Raise OptionError if an option does not suit these weights."""
        check_profile(options, self.profiles)
        check_activation(options, self.manifest)
        check_explained(options, self.manifest)
        check_fitted(options, self.manifest)
        check_rules(options, self.rules)


class GenrePreprocess(GenreStep):
    """Turns a recording into rows of the network."""

    suffix = "_preprocess"

    def initialize(self, args: dict[str, str]) -> None:
        """Read the limits from the `parameters` of config.pbtxt, and choose the device for spectrograms."""
        super().initialize(args)
        self.system = self.name.removesuffix(self.suffix)
        # By this rule the launcher loads the network, too (server/preflight.py).
        self.explains = Repository(Path(args["model_repository"]).parent).network(self.system).explain.is_current
        self.max_rows = self.parameters.pop("max_rows")
        self.transform = NUMPY
        if (device := self.parameters.pop("gpu_spectrum", None)) == "auto":
            name, log = args["model_name"], pb_utils.Logger.log_warn  # Triton prints this level by default
            self.transform = choose_transform(self.manifest["spectrum"], lambda line: log(f"{name}: {line}"))
        elif device is not None:
            raise ValueError(f'{args["model_name"]}: gpu_spectrum must be "auto", not {json.dumps(device)}')
        self.limits = Limits(**self.parameters)

    def check(self, options: GenreOptions) -> None:
        """Raise OptionError also if there is no network that explains: before the work, not after it."""
        super().check(options)
        if options.explain and not self.explains:
            raise Unexplained(self.system)

    def answer(self, request: pb_utils.InferenceRequest) -> list[pb_utils.Tensor]:
        """Return ROWS float32 [n, *shape of a row], KEPT_ROWS (the same if images are requested) and INFO."""
        text = bytes_of(request, "OPTIONS")
        options = parse_options(text, GenreOptions, profile=self.manifest["profile"])
        self.check(options)
        recording = recording_of(request)
        prepared = prepare(
            recording,
            self.profiles[options.profile],
            spectrum=self.manifest["spectrum"],
            max_rows=self.max_rows,
            jpeg=options.jpeg,
            limits=self.limits,
            transform=self.transform,
            enhancement=options.part(Enhancement),
            selection=options.part(Selection),
            with_features=options.rules,
        )
        notes = [DEMO_NOTE] if self.manifest["demo"] else []
        if options.profile != self.manifest["profile"]:
            notes.append(
                f"Prepared with profile {options.profile}; the weights were made for {self.manifest['profile']}."
            )
        prepared = replace(prepared, notes=(*notes, *prepared.notes))
        info = GenreInfo.of(prepared, options, request_sha256(recording, text))
        kept = prepared.rows if options.explain or options.pictures else NO_ROWS
        return [
            pb_utils.Tensor("ROWS", prepared.rows),
            pb_utils.Tensor("KEPT_ROWS", kept),
            json_tensor("INFO", info.to_json()),
        ]


class GenrePostprocess(GenreStep):
    """Turns logits of the rows into the answer."""

    suffix = "_postprocess"

    def initialize(self, args: dict[str, str]) -> None:
        """Prepare the labels, which are the same for every request."""
        super().initialize(args)
        self.system = args["model_name"].removesuffix(self.suffix)
        self.labels = np.array([name.encode() for name in label_names(self.manifest)], object)

    def answer(self, request: pb_utils.InferenceRequest) -> list[pb_utils.Tensor]:
        """Return the requested outputs."""
        logits, kept = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("LOGITS", "KEPT_ROWS")
        )
        info = self.info(request)
        check_rows(logits, kept, info, self.manifest["input"]["shape"])
        check_finite("LOGITS", logits)
        embedding = embedding_of(request, logits)
        analysis = genre.analyse(logits, info, self.manifest, self.rules)
        result = genre.to_result(analysis, info, self.manifest) | self.runtime
        maps, images = NO_MAPS, NO_IMAGES
        explained = info.options.explain
        if count := max(explained, info.options.pictures):
            best = analysis.ranking[0]
            slices = np.argsort(-analysis.slice_probabilities[:, best], kind="stable")[:count]
            profile = self.profiles[info.options.profile]
            images = to_images(kept[slices], profile)
            marks = ticks(profile, self.manifest["spectrum"])
            result["pictures"] = {"slices": slices.tolist(), "ticks": marks}
            if explained:
                maps = explain(self.system, kept[slices[:explained]], best)
                method = ARCHITECTURES[self.manifest["architecture"]].explained_by
                result["explanation"] = {"method": method, "slices": slices[:explained].tolist()}
        outputs = {
            "PROBABILITIES": lambda: pb_utils.Tensor("PROBABILITIES", analysis.probabilities),
            "LABELS": lambda: pb_utils.Tensor("LABELS", self.labels),
            "SLICE_PROBABILITIES": lambda: pb_utils.Tensor("SLICE_PROBABILITIES", analysis.slice_probabilities),
            "EMBEDDING": lambda: pb_utils.Tensor("EMBEDDING", embedding),
            "EXPLANATION": lambda: pb_utils.Tensor("EXPLANATION", maps),
            "PICTURES": lambda: pb_utils.Tensor("PICTURES", images),
            "RESULT": lambda: json_tensor("RESULT", result),
        }
        return [outputs[name]() for name in request.requested_output_names()]

    def info(self, request: pb_utils.InferenceRequest) -> GenreInfo:
        """Read INFO and check that its options suit these weights."""
        info = GenreInfo.from_json(
            bytes_of(request, "INFO") or b"", GenreOptions, profile=self.manifest["profile"]
        )
        self.check(info.options)
        if info.options.rules and not set(FEATURES) <= set(info.features or {}):
            raise InputError(f"INFO: with rules, features must be an object of {', '.join(FEATURES)}.")
        return info


def check_rules(options: GenreOptions, rules: Rules | None) -> None:
    """Raise OptionError if rules are requested and these weights have none."""
    if options.rules and rules is None:
        raise OptionError(
            "OPTIONS: rules must be false: no file in answers/genre/rule_files/ has rules for these labels."
        )


def check_rows(logits: np.ndarray, kept: np.ndarray, info: GenreInfo, row: list[int]) -> None:
    """Raise InputError if the rows do not match INFO; `row` is the shape of one row of the network."""
    slices, options = len(info.slices), info.options
    if len(logits) != slices or not slices:
        raise InputError(f"LOGITS has {len(logits)} rows, INFO {slices} slices; each row needs one slice.")
    if (options.explain or options.pictures) and kept.shape != (slices, *row):
        raise InputError(f"KEPT_ROWS has the shape {[*kept.shape]}, explain and pictures need {[slices, *row]}.")


def embedding_of(request: pb_utils.InferenceRequest, logits: np.ndarray) -> np.ndarray:
    """Return the mean of the rows' embeddings, float32 [values]; [0] if the network has no embedding."""
    tensor = pb_utils.get_input_tensor_by_name(request, "EMBEDDING")
    if tensor is None:
        return NO_EMBEDDING
    rows = tensor.as_numpy()
    if len(rows) != len(logits):
        raise InputError(f"EMBEDDING has {len(rows)} rows, LOGITS {len(logits)}; both need the same number.")
    check_finite("EMBEDDING", rows)
    return rows.mean(axis=0, dtype=np.float64).astype(np.float32)


def to_images(rows: np.ndarray, profile: Profile) -> np.ndarray:
    """Convert rows to images: float32 [k, 3 or 1, h, w] -> uint8 [k, h, w, 3].

    Black is the lowest value of the profile's range, or of each image if the profile has no range.
    """
    if profile.value_range is None:
        low, high = (bound(rows, axis=(1, 2, 3), keepdims=True) for bound in (np.min, np.max))
        high = np.where(high > low, high, low + 1)  # a silent patch is black
    else:
        low, high = profile.value_range
    levels = np.clip((rows - low) * (255 / (high - low)) + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(levels, 3 // levels.shape[1], axis=1).transpose(0, 2, 3, 1))


def label_names(manifest: dict) -> list[str]:
    """Return the labels in English."""
    return [label["en"] for label in manifest["labels"]]
