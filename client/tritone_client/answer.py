"""One shape of answer, for everything that shows, counts or writes answers, whichever system gave them.

`Prediction` and `EmotionPrediction` have it besides fields of their own.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Ranked:
    """A label and its probability; `label_zh` is its Chinese name, empty where there is none."""

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
    """The label that most slices have, and their share."""

    label: str
    share: float


@dataclass(frozen=True)
class Weights:
    """Where the network's weights come from; with `demo` weights a label means nothing for real recordings."""

    origin: str
    source: str
    sha256: str
    demo: bool


@dataclass(frozen=True)
class Runtime:
    """Where the network ran and how: "CPU" or the GPU's name; "float32", "bfloat16", "float16" or "int8"."""

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
    """What the network saw of a part: uint8 [height, width, 3].

    `overlay`, of the same shape, shows where the network looked; None unless the answer is explained. `ticks` are
    marks on the frequency axis; time runs from the part's `start` to its `end`.
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
    """What a system says about a recording."""

    @property
    def model(self) -> str:
        """The system that answered."""

    @property
    def best(self) -> Ranked | None:
        """The label that answers the question; None where the recording is silent."""

    @property
    def ranking(self) -> tuple[Ranked, ...]:
        """Labels, the most probable first; empty where the recording is silent."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Label and probability of each part of the recording, in time."""

    @property
    def parts_total(self) -> int | None:
        """Slices in the recording, of which `parts` may be some; None where `parts` are a timeline."""

    @property
    def vote(self) -> Vote | None:
        """The label that most slices have; None where `parts` are a timeline."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, in the order of `probabilities`."""

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Return the probability of each of `labels`, float32 [labels]."""

    @property
    def row_probabilities(self) -> npt.NDArray[np.float32]:
        """The probabilities whose mean answers, float32 [rows, labels]: one row per slice, or one in all."""

    @property
    def agreement(self) -> float | None:
        """Share of the parts whose label is the best; None unless the options ask for it."""

    @property
    def images(self) -> tuple[Image, ...]:
        """What the network saw; empty unless the options ask for it."""

    @property
    def frames(self) -> Frames | None:
        """Scores of short frames; None unless asked for."""

    @property
    def embedding(self) -> npt.NDArray[np.float32] | None:
        """An array float32 [values], the network's features; None unless asked for."""

    @property
    def needs_review(self) -> bool | None:
        """Whether a person should check this answer; None unless the options ask for `uncertainty`."""

    @property
    def uncertainty(self) -> dict[str, float]:
        """Its measures by name, from 0 (sure) to 1; empty unless asked for."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the rules of musical knowledge changed, a sentence each."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a person should read."""

    @property
    def weights(self) -> Weights:
        """Where the network's weights come from."""

    @property
    def runtime(self) -> Runtime | None:
        """Where the network ran and how; None where the server does not report it."""

    @property
    def duration(self) -> float:
        """Seconds of the recording."""

    @property
    def seconds(self) -> float:
        """Wall time of the call, retries included."""

    @property
    def raw(self) -> dict[str, Any]:
        """The server's RESULT as it came."""

    def to_dict(self) -> dict[str, Any]:
        """Return the server's RESULT and what goes with it, ready for JSON."""
