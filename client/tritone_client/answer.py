"""The common interface of answers, for everything that shows, counts or writes them.

`Prediction` and `EmotionPrediction` implement it and have further fields of their own.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Ranked:
    """A label and its probability; `label_zh` is its Chinese name, empty if there is none."""

    label: str
    label_zh: str
    probability: float


@dataclass(frozen=True)
class Part:
    """The label of a part of the recording, from `start` to `end` seconds, and its probability."""

    start: float
    end: float
    label: str
    probability: float


@dataclass(frozen=True)
class Vote:
    """The label that most slices have, and the share of slices that have it."""

    label: str
    share: float


@dataclass(frozen=True)
class Weights:
    """Where the network's weights come from; labels of `demo` weights mean nothing for real recordings."""

    origin: str
    source: str
    sha256: str
    demo: bool


@dataclass(frozen=True)
class Runtime:
    """Where the network ran ("CPU" or the GPU's name) and how ("float32", "bfloat16", "float16" or "int8")."""

    device: str
    precision: str
    backend: str


@dataclass(frozen=True)
class Tick:
    """A mark on the frequency axis of an image: `at` from 0, its bottom, to 1, its top; `label` such as "C4"."""

    at: float
    label: str


@dataclass(frozen=True, eq=False)
class Image:
    """The input of the network for one part of the recording, as an image uint8 [height, width, 3].

    `overlay`, of the same shape, shows where the network looked; None unless the answer is explained. `ticks` are
    marks on the frequency axis, the lowest at the bottom; time runs from the part's `start` to its `end`.
    """

    part: Part
    picture: npt.NDArray[np.uint8]
    overlay: npt.NDArray[np.uint8] | None
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, eq=False)
class Frames:
    """Scores of short frames, float32 [frames, labels], one every `hop` seconds."""

    scores: npt.NDArray[np.float32]
    hop: float


class Answer(Protocol):
    """The answer of a system to one recording."""

    @property
    def model(self) -> str:
        """The system that answered."""

    @property
    def best(self) -> Ranked | None:
        """The most probable label; None if the recording is silent."""

    @property
    def ranking(self) -> tuple[Ranked, ...]:
        """Labels, the most probable first; empty if the recording is silent."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Label and probability of each part of the recording, in the order of time."""

    @property
    def parts_total(self) -> int | None:
        """Number of slices in the recording, of which `parts` may be some; None if `parts` are a timeline."""

    @property
    def vote(self) -> Vote | None:
        """The label that most slices have; None if `parts` are a timeline."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, in the order of `probabilities`."""

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """The probability of each of `labels`, float32 [labels]."""

    @property
    def row_probabilities(self) -> npt.NDArray[np.float32]:
        """The probabilities that are averaged, float32 [rows, labels]: one row per slice, or one in all."""

    @property
    def agreement(self) -> float | None:
        """Share of the parts whose label is `best`; None unless the options ask for it."""

    @property
    def images(self) -> tuple[Image, ...]:
        """Images of the network's input; empty unless the options ask for them."""

    @property
    def frames(self) -> Frames | None:
        """Scores of short frames; None unless requested."""

    @property
    def embedding(self) -> npt.NDArray[np.float32] | None:
        """The network's features, float32 [values]; None unless requested."""

    @property
    def needs_review(self) -> bool | None:
        """Whether a person should check this answer; None unless the options ask for `uncertainty`."""

    @property
    def uncertainty(self) -> dict[str, float]:
        """Measures of uncertainty by name, from 0 (certain) to 1; empty unless requested."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the rules of musical knowledge changed, one sentence per rule."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks of the server for people, one sentence each."""

    @property
    def weights(self) -> Weights:
        """Where the network's weights come from."""

    @property
    def runtime(self) -> Runtime | None:
        """Where the network ran and how; None if the server does not report it."""

    @property
    def duration(self) -> float:
        """Duration of the recording in seconds."""

    @property
    def seconds(self) -> float:
        """Wall time of the call in seconds, retries included."""

    @property
    def raw(self) -> dict[str, Any]:
        """The server's RESULT, unchanged."""

    def to_dict(self) -> dict[str, Any]:
        """Return the server's RESULT and the wall time, ready for JSON."""
