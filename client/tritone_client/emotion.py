"""The emotions in a recording of speech, as a whole and frame by frame."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tritone_client.drawing import plot_emotion
from tritone_client.errors import InvalidRecording, reading_answer
from tritone_client.prediction import Computed, Weights, parse_computed, parse_doubt, parse_weights
from tritone_client.reading import Fields, labels_of, result_of, shares, tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Granularity = Literal["utterance", "frame"]

EMOTION_OUTPUTS = ("RESULT", "SCORES", "LABELS")


@dataclass(frozen=True)
class Segment:
    """A stretch of one emotion, from `start` to `end` seconds; `confidence` is its mean smoothed score there."""

    start: float
    end: float
    emotion: str
    confidence: float


@dataclass(frozen=True, eq=False)
class EmotionPrediction:
    """What a system says about the emotions in a recording.

    Attributes:
        model: the system that answered.
        emotion: the emotion with the highest score; None where the recording is silent.
        emotion_zh: its Chinese name; None where the recording is silent.
        confidence: its score; None where the recording is silent.
        scores: the score of every emotion, in the order of `labels`; they sum to 1.
        labels: all emotions, in the order of the columns of `frame_scores`.
        segments: the timeline, smoothed, without gaps; empty where the recording is silent.
        frame_scores: float32 [frames, emotions], not smoothed; None unless asked for with granularity "frame".
        frame_hop: seconds from the start of one frame to that of the next.
        embedding: float32 [1024], mean over the frames; None unless asked for.
        frame_embeddings: float32 [frames, 1024]; None unless asked for, with granularity "frame".
        silence: whether the recording is silent; all scores are equal then.
        windows: parts that the recording was cut into; with more than one the answer is an approximation.
        duration: seconds of the recording.
        needs_review: whether a person should look at this answer; None unless asked for with `uncertainty`.
        uncertainty: its measures by name, from 0 (sure) to 1; empty unless asked for.
        computed: where the network ran and how; None where the server does not tell.
        weights: where the network's weights come from.
        notes: sentences that a person should read.
        seconds: wall time of the call, retries included.
        raw: the server's RESULT as it came.
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
    computed: Computed | None = None

    def to_dict(self) -> dict[str, Any]:
        """The server's RESULT and the wall time, ready for JSON; with frame scores also these and their labels.

        Embeddings are left out: they are arrays for `numpy.save`.
        """
        frames = {}
        if self.frame_scores is not None:
            frames = {"labels": list(self.labels), "frame_scores": rounded(self.frame_scores)}
        return self.raw | frames | {"seconds": round(self.seconds, 4)}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from tritone_client.html import answer_html  # which needs this module

        return answer_html(self)

    def plot(self) -> "Figure":
        """A Matplotlib figure of emotions and the timeline. Raises `ImportError` without the extra `plot`."""
        return plot_emotion(self)


def rounded(scores: npt.NDArray[np.float32]) -> list[Any]:
    """Scores as lists for JSON, to six decimals, which is what float32 holds of them."""
    return np.round(scores.astype(np.float64), 6).tolist()


def emotion_outputs(granularity: Granularity, embedding: bool) -> tuple[str, ...]:
    """The output tensors to ask for. Raises `InvalidRecording` for a granularity that there is not."""
    if granularity not in get_args(Granularity):
        raise InvalidRecording(f"The granularity must be 'utterance' or 'frame', not {granularity!r}.")
    frames = granularity == "frame"
    wanted = {"FRAME_SCORES": frames, "EMBEDDING": embedding, "FRAME_EMBEDDINGS": frames and embedding}
    return EMOTION_OUTPUTS + tuple(name for name, is_wanted in wanted.items() if is_wanted)


def parse_emotion(tensors: dict[str, npt.NDArray[Any]], seconds: float) -> EmotionPrediction:
    """The prediction in a system's output tensors. Raises `InferenceFailed` if they are no such answer."""
    with reading_answer():
        raw = result_of(tensors)
        result, labels = Fields(raw), labels_of(tensors)
        silence, known = result.flag("silence"), dict.fromkeys(("emotion", "emotion_zh", "confidence"))
        if result.has("labels_zh"):
            result.texts("labels_zh")  # which is read when the answer is shown
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
            weights=parse_weights(result),
            notes=result.texts("notes"),
            seconds=seconds,
            raw=raw,
            computed=parse_computed(result),
            **parse_doubt(result),
        )


def parse_segment(entry: Fields, labels: tuple[str, ...]) -> Segment:
    """A stretch of one emotion, by RESULT."""
    return Segment(
        entry.seconds("start"), entry.seconds("end"), entry.one_of("emotion", labels), entry.share("confidence")
    )


def parse_embedding(
    tensors: dict[str, npt.NDArray[Any]], name: str, *shape: None
) -> npt.NDArray[np.float32] | None:
    """The network's features, None where they were not asked for."""
    return tensor(tensors, name, np.float32, *shape) if name in tensors else None
