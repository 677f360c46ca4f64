"""The emotions in a recording of speech: for the whole recording, as a timeline, and for each frame."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tritone_client.answer import Frames, Part, Ranked, Runtime, Weights
from tritone_client.answers.fields import (
    Fields,
    Tensors,
    labels_of,
    result_of,
    runtime,
    shares,
    tensor,
    uncertainty,
    weights,
)
from tritone_client.display.figures import plot_answer
from tritone_client.display.html import answer_html
from tritone_client.display.svg import drawn
from tritone_client.errors import InvalidRecording, reading_answer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Granularity = Literal["utterance", "frame"]

EMOTION_OUTPUTS = ("RESULT", "SCORES", "LABELS")


@dataclass(frozen=True)
class Segment:
    """A stretch with one emotion, from `start` to `end` seconds; `confidence` is its mean smoothed score."""

    start: float
    end: float
    emotion: str
    confidence: float


@dataclass(frozen=True, eq=False)
class EmotionPrediction:
    """The emotions in a recording of speech.

    Attributes
    ----------
    model : the system that answered.
    emotion : the emotion with the highest score; None if the recording is silent.
    emotion_zh : its Chinese name; None if the recording is silent.
    confidence : its score; None if the recording is silent.
    scores : the score of every emotion, in the order of `labels`; they sum to 1.
    labels : all emotions, in the order of the columns of `frame_scores`.
    segments : the timeline, smoothed, without gaps; empty if the recording is silent.
    frame_scores : float32 [frames, emotions], not smoothed; None unless requested with granularity "frame".
    frame_hop : seconds from the start of one frame to the start of the next.
    embedding : float32 [1024], mean over the frames; None unless requested.
    frame_embeddings : float32 [frames, 1024]; None unless requested with granularity "frame".
    silence : whether the recording is silent; then all scores are equal.
    windows : number of parts into which the server cut the recording; with several, the answer is approximate.
    duration : seconds of the recording.
    needs_review : whether a person should check this answer; None unless the options ask for `uncertainty`.
    uncertainty : measures of uncertainty by name, from 0 (certain) to 1; empty unless requested.
    runtime : where the network ran and how; None if the server does not report it.
    weights : where the network's weights come from.
    notes : remarks of the server for people, one sentence each.
    seconds : wall time of the call, retries included.
    raw : the server's RESULT, unchanged.

    The attributes of `Answer` are available, too: `best`, `ranking`, `parts`, `probabilities`, `frames`.
    """

    model: str
    emotion: str | None
    emotion_zh: str | None
    confidence: float | None
    scores: dict[str, float]
    labels: tuple[str, ...] = field(repr=False)
    segments: tuple[Segment, ...] = field(repr=False)
    frame_scores: npt.NDArray[np.float32] | None = field(repr=False)
    frame_hop: float = field(repr=False)
    embedding: npt.NDArray[np.float32] | None = field(repr=False)
    frame_embeddings: npt.NDArray[np.float32] | None = field(repr=False)
    silence: bool
    windows: int
    duration: float
    weights: Weights
    notes: tuple[str, ...]
    seconds: float
    raw: dict[str, Any] = field(repr=False)
    needs_review: bool | None = None
    uncertainty: dict[str, float] = field(default_factory=dict)
    runtime: Runtime | None = None

    @property
    def computed(self) -> Runtime | None:
        """Return `runtime`, under its name before version 0.2."""
        return self.runtime

    @property
    def best(self) -> Ranked | None:
        """Return `emotion` with its Chinese name and score."""
        if self.emotion is None or self.confidence is None:
            return None
        return Ranked(self.emotion, self.emotion_zh or "", self.confidence)

    @property
    def ranking(self) -> tuple[Ranked, ...]:
        """Return all emotions: `best` first, the others by their scores."""
        if self.best is None:
            return ()
        chinese = dict(zip(self.labels, self.raw.get("labels_zh") or (), strict=False))
        chinese[self.best.label] = self.best.label_zh
        ranked = (Ranked(label, chinese.get(label, ""), score) for label, score in self.scores.items())
        return tuple(sorted(ranked, key=lambda entry: (entry.label != self.emotion, -drawn(entry.probability))))

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return `segments`."""
        return tuple(Part(s.start, s.end, s.emotion, s.confidence) for s in self.segments)

    @property
    def parts_total(self) -> None:
        """Return None: `parts` are the whole timeline."""

    @property
    def vote(self) -> None:
        """Return None: segments do not vote."""

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Return `scores` as an array, float32 [emotions]."""
        return np.array(list(self.scores.values()), np.float32)

    @property
    def row_probabilities(self) -> npt.NDArray[np.float32]:
        """Return `scores` as one row, float32 [1, emotions]."""
        return self.probabilities[None]

    @property
    def agreement(self) -> None:
        """Return None: segments do not vote."""

    @property
    def images(self) -> tuple[()]:
        """Return an empty tuple: the network takes samples, not images."""
        return ()

    @property
    def frames(self) -> Frames | None:
        """Return `frame_scores` with their `frame_hop`."""
        return None if self.frame_scores is None else Frames(self.frame_scores, self.frame_hop)

    @property
    def remarks(self) -> tuple[()]:
        """Return an empty tuple: there are no rules for emotions."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Return the server's RESULT and the wall time, ready for JSON.

        Frame scores and their labels are included if there are any; embeddings are not: save them as arrays.
        """
        frames = {}
        if self.frame_scores is not None:
            frames = {"labels": list(self.labels), "frame_scores": rounded(self.frame_scores)}
        return self.raw | frames | {"seconds": round(self.seconds, 4)}

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows."""
        return answer_html(self)

    def plot(self) -> "Figure":
        """Return a Matplotlib figure of the emotions and the timeline.

        Raises `ImportError` without the extra `plot`.
        """
        return plot_answer(self)


def rounded(scores: npt.NDArray[np.float32]) -> list[Any]:
    """Return scores as lists for JSON, with six decimals, the precision of float32."""
    return list(np.round(scores.astype(np.float64), 6).tolist())


def emotion_outputs(granularity: Granularity, embedding: bool) -> tuple[str, ...]:
    """Return the names of the outputs to request. Raises `InvalidRecording` for an unknown granularity."""
    if granularity not in get_args(Granularity):
        raise InvalidRecording(f"The granularity must be 'utterance' or 'frame', not {granularity!r}.")
    frames = granularity == "frame"
    wanted = {"FRAME_SCORES": frames, "EMBEDDING": embedding, "FRAME_EMBEDDINGS": frames and embedding}
    return EMOTION_OUTPUTS + tuple(name for name, is_wanted in wanted.items() if is_wanted)


def parse_emotion(tensors: Tensors, seconds: float) -> EmotionPrediction:
    """Return the prediction in a system's output tensors. Raises `InferenceFailed` if they are malformed."""
    with reading_answer():
        raw = result_of(tensors)
        result, labels = Fields(raw), labels_of(tensors)
        silence = result.flag("silence")
        known: dict[str, Any] = dict.fromkeys(("emotion", "emotion_zh", "confidence"))
        if result.has("labels_zh"):
            result.texts("labels_zh")  # checked here, read when the answer is shown
        if not silence:
            known = {
                "emotion": result.one_of("emotion", labels),
                "emotion_zh": result.text("emotion_zh"),
                "confidence": result.share("confidence"),
            }
        return EmotionPrediction(
            model=result.text("model"),
            **known,
            scores=dict(zip(labels, shares(tensors, "SCORES", len(labels)).tolist(), strict=True)),
            labels=labels,
            segments=tuple(parse_segment(entry, labels) for entry in result.objects("segments")),
            frame_scores=shares(tensors, "FRAME_SCORES", None, len(labels)) if "FRAME_SCORES" in tensors else None,
            frame_hop=result.seconds("frame_hop"),
            embedding=parse_embedding(tensors, "EMBEDDING", None),
            frame_embeddings=parse_embedding(tensors, "FRAME_EMBEDDINGS", None, None),
            silence=silence,
            windows=result.count("windows"),
            duration=result.seconds("duration"),
            weights=weights(result),
            notes=result.texts("notes"),
            seconds=seconds,
            raw=raw,
            runtime=runtime(result),
            **uncertainty(result),
        )


def parse_segment(entry: Fields, labels: tuple[str, ...]) -> Segment:
    """Return a segment from its entry in RESULT."""
    return Segment(
        entry.seconds("start"), entry.seconds("end"), entry.one_of("emotion", labels), entry.share("confidence")
    )


def parse_embedding(tensors: Tensors, name: str, *shape: None) -> npt.NDArray[np.float32] | None:
    """Return the network's features, or None if they were not requested."""
    return tensor(tensors, name, np.float32, *shape) if name in tensors else None
