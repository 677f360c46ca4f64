"""The labels of a recording, with their probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tritone_client.answer import Image, Part, Ranked, Runtime, Tick, Vote, Weights
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
from tritone_client.display.figures import overlay, plot_answer
from tritone_client.display.html import answer_html
from tritone_client.errors import reading_answer
from tritone_client.plain import formatted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUTPUTS = ("RESULT", "PROBABILITIES", "LABELS", "SLICE_PROBABILITIES")


@dataclass(frozen=True)
class Slice(Part):
    """The label of one slice of the recording, from `start` to `end` seconds, and its probability."""


@dataclass(frozen=True)
class Change:
    """A label whose probability a rule multiplied by `factor`, before all were scaled to sum to 1 again."""

    label: str
    factor: float
    before: float
    after: float


@dataclass(frozen=True)
class AppliedRule:
    """A rule of musical knowledge that changed the answer, and the features of the recording that caused it."""

    rule: str
    because: dict[str, float]
    changes: tuple[Change, ...]


@dataclass(frozen=True, eq=False)
class Prediction:
    """The labels of a recording.

    Attributes
    ----------
    model : the system that answered.
    label : the most probable label, with its `probability`.
    top : the most probable labels, best first.
    labels : all labels, in the order of `probabilities`.
    probabilities : float32 [classes], the mean over the slices unless `voting` or `rules` changes it.
    slice_probabilities : float32 [slices, classes].
    slices : label and probability of each slice, in the order of time.
    slices_total : number of slices in the recording; more than `len(slices)` if the server used only some.
    vote : majority vote over the slices.
    levels : coarser label sets by name, each ranked; empty if the system has none.
    duration : seconds of the recording.
    profile : the preprocessing profile that was used.
    needs_review : whether a person should check this answer; None unless the options ask for `uncertainty`.
    uncertainty : measures of uncertainty by name, from 0 (certain) to 1; empty unless requested.
    agreement : share of the slices whose own label is `label`; None unless `segments` or `voting` is set.
    rules : what the rules of musical knowledge changed; empty unless the options ask for `rules`.
    explained : which of `slices` are explained; empty unless the options ask for `explain`.
    explanation : float32 [explained, 14, 14] in [0, 1], how much the network looked at each place, row 0 at
        the top of the picture; None unless requested.
    pictured : which of `slices` have a picture: explained ones first, then by their probability of the answer;
        empty unless the options ask for `pictures` or `explain`.
    pictures : uint8 [pictured, 224, 224, 3], the network's input for these slices; None unless requested.
    ticks : marks on the frequency axis of `pictures`; empty if the server reports none.
    embedding : float32 [values], the network's features, mean over the slices; None unless requested.
    runtime : where the network ran and how; None if the server does not report it.
    weights : where the network's weights come from.
    notes : remarks of the server for people, one sentence each.
    seconds : wall time of the call, retries included.
    raw : the server's RESULT, unchanged.

    The attributes of `Answer` are available, too: `best`, `ranking`, `parts`, `images`, `remarks`.
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
    needs_review: bool | None = None
    uncertainty: dict[str, float] = field(default_factory=dict)
    agreement: float | None = None
    rules: tuple[AppliedRule, ...] = ()
    explained: tuple[int, ...] = ()
    explanation: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    pictured: tuple[int, ...] = ()
    pictures: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    ticks: tuple[Tick, ...] = field(default=(), repr=False)
    embedding: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    runtime: Runtime | None = None

    @property
    def computed(self) -> Runtime | None:
        """Return `runtime`, under its name before version 0.2."""
        return self.runtime

    @property
    def best(self) -> Ranked:
        """Return `label` with its Chinese name and `probability`."""
        chinese = {entry.label: entry.label_zh for entry in self.top}
        return Ranked(self.label, chinese.get(self.label, ""), self.probability)

    @property
    def ranking(self) -> tuple[Ranked, ...]:
        """Return `top`."""
        return self.top

    @property
    def parts(self) -> tuple[Slice, ...]:
        """Return `slices`."""
        return self.slices

    @property
    def parts_total(self) -> int:
        """Return `slices_total`."""
        return self.slices_total

    @property
    def row_probabilities(self) -> npt.NDArray[np.float32]:
        """Return `slice_probabilities`."""
        return self.slice_probabilities

    @property
    def images(self) -> tuple[Image, ...]:
        """Return `pictures` with their slices, explanations and axes, low frequencies at the bottom."""
        pictures = () if self.pictures is None else self.pictures
        explained = 0 if self.explanation is None else len(self.explained)
        is_upside_down = bool(self.ticks) and self.ticks[0].at > self.ticks[-1].at
        step = -1 if is_upside_down else 1
        ticks = tuple(Tick(1 - tick.at, tick.label) for tick in self.ticks) if is_upside_down else self.ticks
        return tuple(
            Image(
                self.slices[place],
                picture[::step],
                self.overlay(index)[::step] if index < explained else None,
                ticks,
            )
            for index, (place, picture) in enumerate(zip(self.pictured, pictures, strict=False))
        )

    @property
    def frames(self) -> None:
        """Return None: there are no frames, only slices."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what each of `rules` changed, and why, one sentence per rule."""
        return tuple(map(remark, self.rules))

    def overlay(self, index: int) -> npt.NDArray[np.uint8]:
        """Return picture `index` in grey, with orange where the network looked: uint8 [224, 224, 3].

        Raises `ValueError` if no explanation was requested.
        """
        if self.explanation is None or self.pictures is None:
            raise ValueError("This prediction has no explanation: request it with explain=1 to 4.")
        return overlay(self.pictures[index], self.explanation[index])

    def to_dict(self) -> dict[str, Any]:
        """Return the server's RESULT, all probabilities by label and the wall time, ready for JSON."""
        probabilities = dict(zip(self.labels, self.probabilities.tolist(), strict=True))
        return self.raw | {"probabilities": probabilities, "seconds": round(self.seconds, 4)}

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows."""
        return answer_html(self)

    def plot(self) -> "Figure":
        """Return a Matplotlib figure of labels, slices and pictures.

        Raises `ImportError` without the extra `plot`.
        """
        return plot_answer(self)


def remark(rule: AppliedRule) -> str:
    """Return what a rule changed, and why, as a sentence."""
    because = ", ".join(f"{name} {formatted(value, '.3g')}" for name, value in rule.because.items())
    changes = (
        f"{change.label} {formatted(change.before, '.0%')} → {formatted(change.after, '.0%')}"
        for change in rule.changes
    )
    return f"Rule '{rule.rule}' ({because}): {', '.join(changes)}."


def prediction_outputs(options: Mapping[str, object], embedding: bool = False) -> tuple[str, ...]:
    """Return the names of the outputs to request for these options."""
    wanted = {
        "EMBEDDING": embedding,
        "EXPLANATION": options.get("explain"),
        "PICTURES": options.get("explain") or options.get("pictures"),
    }
    return OUTPUTS + tuple(name for name, is_wanted in wanted.items() if is_wanted)


def parse_prediction(tensors: Tensors, seconds: float) -> Prediction:
    """Return the prediction in a system's output tensors. Raises `InferenceFailed` if they are malformed."""
    with reading_answer():
        raw = result_of(tensors)
        result, labels = Fields(raw), labels_of(tensors)
        slices = tuple(parse_slice(entry, labels) for entry in result.objects("slices"))
        pictured, pictures = parse_images(tensors, raw, "PICTURES", len(slices))
        explained, explanation = parse_images(tensors, raw, "EXPLANATION", len(slices))
        if explained != pictured[: len(explained)] and pictures is not None:
            raise ValueError("RESULT.explanation and RESULT.pictures name different slices")
        vote = result.object("vote")
        levels = result.object("levels") if result.has("levels") else Fields({})
        return Prediction(
            model=result.text("model"),
            label=result.one_of("label", labels),
            probability=result.share("probability"),
            top=ranked(result, "top", labels),
            labels=labels,
            probabilities=shares(tensors, "PROBABILITIES", len(labels)),
            slice_probabilities=shares(tensors, "SLICE_PROBABILITIES", None, len(labels)),
            slices=slices,
            slices_total=result.count("slices_total"),
            vote=Vote(vote.text("label"), vote.share("share")),
            levels={name: ranked(levels, name) for name in levels.values},
            duration=result.seconds("duration"),
            profile=result.text("profile"),
            weights=weights(result),
            notes=result.texts("notes"),
            seconds=seconds,
            raw=raw,
            agreement=result.share("agreement") if result.has("agreement") else None,
            rules=tuple(map(applied_rule, result.objects("rules"))) if result.has("rules") else (),
            explained=explained,
            explanation=explanation,
            pictured=pictured,
            pictures=pictures,
            ticks=parse_ticks(result),
            embedding=tensor(tensors, "EMBEDDING", np.float32, None) if "EMBEDDING" in tensors else None,
            runtime=runtime(result),
            **uncertainty(result),
        )


def parse_slice(entry: Fields, labels: tuple[str, ...]) -> Slice:
    """Return a slice from its entry in RESULT."""
    return Slice(
        entry.seconds("start"), entry.seconds("end"), entry.one_of("label", labels), entry.share("probability")
    )


# Tensors of images -> the shape of one slice's entry, and its dtype.
IMAGES: dict[str, tuple[tuple[int | None, ...], npt.DTypeLike]] = {
    "PICTURES": ((None, None, 3), np.uint8),
    "EXPLANATION": ((None, None), np.float32),
}


def parse_images(
    tensors: Tensors, raw: dict[str, Any], name: str, slices: int
) -> tuple[tuple[int, ...], npt.NDArray[Any] | None]:
    """Return which slices a tensor shows, by RESULT, and the tensor, None if it was not requested."""
    entry = raw.get(name.lower()) or (raw.get("explanation") if name == "PICTURES" else None) or {"slices": []}
    indices = Fields(entry, f"RESULT.{name.lower()}").indices("slices", slices)
    if name not in tensors:
        return indices, None
    shape, dtype = IMAGES[name]
    return indices, tensor(tensors, name, dtype, len(indices), *shape)


def parse_ticks(result: Fields) -> tuple[Tick, ...]:
    """Return the marks on the frequency axis of the pictures, from RESULT."""
    if not result.has("pictures") or not result.object("pictures").has("ticks"):
        return ()
    return tuple(Tick(tick.share("at"), tick.text("label")) for tick in result.object("pictures").objects("ticks"))


def applied_rule(entry: Fields) -> AppliedRule:
    """Return an applied rule from its entry in RESULT."""
    changes = (
        Change(c.text("label"), c.number("factor"), c.share("before"), c.share("after"))
        for c in entry.objects("changes")
    )
    return AppliedRule(entry.text("rule"), entry.object("because").numbers(), tuple(changes))


def ranked(result: Fields, name: str, labels: tuple[str, ...] = ()) -> tuple[Ranked, ...]:
    """Return a ranked list of RESULT, which must not be empty; if `labels` are given, it may hold only these."""
    entries = tuple(
        Ranked(
            entry.one_of("label", labels) if labels else entry.text("label"),
            entry.text("label_zh") if entry.has("label_zh") else "",
            entry.share("probability"),
        )
        for entry in result.objects(name)
    )
    if not entries:
        raise ValueError(f"RESULT.{name} is empty")
    return entries
