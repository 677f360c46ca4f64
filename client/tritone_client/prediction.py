"""The answer to one recording."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tritone_client.errors import reading_answer

OUTPUTS = ("RESULT", "PROBABILITIES", "LABELS", "SLICE_PROBABILITIES")


@dataclass(frozen=True)
class Ranked:
    """A label and its probability; `label_zh` is its Chinese name, empty where there is none."""

    label: str
    label_zh: str
    probability: float


@dataclass(frozen=True)
class Slice:
    """The answer for one slice of the recording, from `start` to `end` seconds."""

    start: float
    end: float
    label: str
    probability: float


@dataclass(frozen=True)
class Vote:
    """The label that most slices chose, and their share."""

    label: str
    share: float


@dataclass(frozen=True)
class Weights:
    """Where the network's weights come from; with `demo` weights a label means nothing for real recordings."""

    origin: str
    source: str
    sha256: str
    demo: bool


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a system says about a recording.

    Attributes:
        model: the system that answered.
        label: the most probable label, with its `probability`.
        top: the most probable labels, best first.
        labels: all labels, in the order of `probabilities`.
        probabilities: float32 [classes], mean over the slices.
        slice_probabilities: float32 [slices, classes].
        slices: label and probability of each slice, in time.
        slices_total: slices in the recording; more than `len(slices)` where the server took only some of them.
        vote: majority vote over the slices.
        levels: coarser label sets by name, each ranked; empty where the system has none.
        duration: seconds of the recording.
        profile: the preprocessing profile that was used.
        weights: where the network's weights come from.
        notes: sentences that a person should read.
        seconds: wall time of the call, retries included.
        raw: the server's RESULT as it came.
    """

    model: str
    label: str
    probability: float
    top: tuple[Ranked, ...]
    labels: tuple[str, ...] = field(repr=False)
    probabilities: npt.NDArray[np.float32] = field(repr=False)
    slice_probabilities: npt.NDArray[np.float32] = field(repr=False)
    slices: tuple[Slice, ...] = field(repr=False)
    slices_total: int
    vote: Vote
    levels: dict[str, tuple[Ranked, ...]] = field(repr=False)
    duration: float
    profile: str
    weights: Weights
    notes: tuple[str, ...]
    seconds: float
    raw: dict[str, Any] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The server's RESULT, all probabilities by label and the wall time, ready for JSON."""
        probabilities = dict(zip(self.labels, self.probabilities.tolist(), strict=True))
        return self.raw | {"probabilities": probabilities, "seconds": round(self.seconds, 4)}


def parse_prediction(tensors: dict[str, npt.NDArray[Any]], seconds: float) -> Prediction:
    """The prediction in a system's output tensors. Raises `InferenceFailed` if they are no such answer."""
    with reading_answer():
        raw = json.loads(tensors["RESULT"][0])
        return Prediction(
            model=raw["model"],
            label=raw["label"],
            probability=raw["probability"],
            top=ranked(raw["top"]),
            labels=tuple(label.decode() for label in tensors["LABELS"]),
            probabilities=tensors["PROBABILITIES"],
            slice_probabilities=tensors["SLICE_PROBABILITIES"],
            slices=tuple(Slice(s["start"], s["end"], s["label"], s["probability"]) for s in raw["slices"]),
            slices_total=raw["slices_total"],
            vote=Vote(raw["vote"]["label"], raw["vote"]["share"]),
            levels={name: ranked(level) for name, level in raw.get("levels", {}).items()},
            duration=raw["duration"],
            profile=raw["profile"],
            weights=parse_weights(raw),
            notes=tuple(raw["notes"]),
            seconds=seconds,
            raw=raw,
        )


def parse_weights(raw: dict[str, Any]) -> Weights:
    """Where the weights come from, by RESULT."""
    return Weights(*(raw["weights"][key] for key in ("origin", "source", "sha256", "demo")))


def ranked(entries: list[dict[str, Any]]) -> tuple[Ranked, ...]:
    """RESULT's list of labels as it is ranked there."""
    return tuple(Ranked(e["label"], e.get("label_zh", ""), e["probability"]) for e in entries)
