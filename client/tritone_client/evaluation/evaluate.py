"""How often a system is right on labelled recordings, with sets of options side by side.

>>> from tritone_client import Client, evaluate, read_labelled
>>> with Client() as client:
...     found = evaluate(client, read_labelled("set/labels.csv"), {"off": {}, "clean": {"denoise": "quietest"}})
>>> found["off"].overall.top1, found["clean"].groups["noise-5"].top1
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from tritone_client.answer import Answer, Weights
from tritone_client.client import Client
from tritone_client.defaults import IN_FLIGHT, MODEL
from tritone_client.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidLabels,
    InvalidRecording,
    TritoneError,
    reading_answer,
)
from tritone_client.evaluation import metrics
from tritone_client.evaluation.labelled import Labelled
from tritone_client.inflight import in_order
from tritone_client.transport.request import check_names

ALL = 1000  # labels to rank: more than any system has

OptionSets = Mapping[str, Mapping[str, object]]
Ask = Callable[[Labelled, Mapping[str, object]], Answer]


@dataclass(frozen=True)
class Outcome:
    """What one recording was answered, and what it is.

    Attributes
    ----------
    label : the system's answer, with its `probability`; None where there was none.
    rank : place of the true label in the answer, from 1; None where there was no answer.
    true_probability : what the system gave the true label.
    needs_review : None unless the options ask for `uncertainty`.
    seconds : wall time of the call; None where there was no answer.
    error : why there was no answer; None where there was one.
    """

    file: str
    group: str
    truth: str
    label: str | None = None
    probability: float | None = None
    rank: int | None = None
    true_probability: float | None = None
    needs_review: bool | None = None
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Scores:
    """How good the answers to some recordings are; a recording without an answer counts as wrong.

    Attributes
    ----------
    recordings : how many there are, `failed` of them without an answer.
    top1 : share of them whose true label is the answer; `top3`: is among the first three.
    ece : expected calibration error in 15 equal bins, of those answered; None where none was.
    nll : mean of -ln p of the true label, each p at least 1e-7, of those answered.
    review : share of the answers that need review; None unless the options ask for `uncertainty`.
    top1_sure : share of right ones among the answers that need none; None where there are none.
    seconds : median wall time of a call.
    """

    recordings: int
    failed: int
    top1: float
    top3: float
    ece: float | None
    nll: float | None
    review: float | None
    top1_sure: float | None
    seconds: float | None


@dataclass(frozen=True)
class ClassScores:
    """How one label fares: 0 where there is nothing to divide by. `support` counts its recordings."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Evaluation:
    """What a system makes of labelled recordings with one set of options.

    Attributes
    ----------
    options : what was asked for.
    groups : by the recordings' groups; empty where they have none.
    classes : by label, those that occur in the recordings or the answers.
    labels : all labels of the system, the order of `confusion`.
    confusion : how many recordings of label (row) were answered with label (column).
    outcomes : of every recording.
    """

    name: str
    model: str
    weights: Weights
    options: dict[str, object]
    overall: Scores
    groups: dict[str, Scores]
    classes: dict[str, ClassScores]
    labels: list[str]
    confusion: list[list[int]]
    outcomes: list[Outcome]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def evaluate(
    client: Client,
    labelled: Sequence[Labelled],
    option_sets: OptionSets,
    model: str = MODEL,
    *,
    at_once: int = IN_FLIGHT,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> dict[str, Evaluation]:
    """Ask `model` what each recording is, with each set of options; how good the answers are, by the sets' names.

    Parameters
    ----------
    client : its timeout holds for each call. It is closed if this is broken off midway.
    labelled : recordings with their labels, English or Chinese (emotions: English).
    option_sets : by name; each recording is asked with all of them in turn, so that none has a better hour.
    model : the system to ask, of genres or of emotions.
    at_once : calls in flight. With 1, `seconds` is the latency of a lone call; a server whose cache has seen a
        recording with the same options answers at once.
    progress : wraps what is gone through, to show how far it is, as `rich.progress.track` does.

    Raises
    ------
    InvalidLabels
        A label that the system does not have.
    InvalidRecording
        An option that there is not or that is refused, or no recording that the server takes.
    UnknownModel, ServerUnavailable
        As `Client.classify`.
    """
    ask, first = prepare(client, labelled, option_sets, model)
    truth = true_labels(labelled, first)
    labels = list(labels_of(first))
    questions = [(item, right, name) for item, right in zip(labelled, truth, strict=True) for name in option_sets]

    def outcome(question: tuple[Labelled, str, str]) -> Outcome:
        item, right, name = question
        answer = ask(item, option_sets[name])
        with reading_answer():  # which may lack labels that the first had
            return judged(item, right, answer)

    outcomes: dict[str, list[Outcome]] = {name: [] for name in option_sets}
    with closing(in_order(client, outcome, questions, at_once=at_once, progress=progress)) as found:
        for (item, right, name), one in found:
            if isinstance(one, TritoneError):
                one = Outcome(str(item.file), item.group, right, error=str(one))
            outcomes[name].append(one)
    return {
        name: summary(name, model, first.weights, dict(option_sets[name]), labels, outcomes[name])
        for name in option_sets
    }


def prepare(
    client: Client, labelled: Sequence[Labelled], option_sets: OptionSets, model: str
) -> tuple[Ask, Answer]:
    """How to ask the model, and an answer of it: what would spoil every call is told before the first of them."""
    for options in option_sets.values():
        check_names(options)
    ask = asker(client, model)
    refused: TritoneError | None = None
    for item in labelled:
        answers = []
        for options in option_sets.values():
            try:
                answers.append(ask(item, options))
            except (InvalidRecording, InferenceFailed, DeadlineExceeded) as error:
                if isinstance(error, InvalidRecording) and error.code in ("option", "unexplained"):
                    raise
                refused = refused or error
        if answers:
            return ask, answers[0]
    raise refused or InvalidLabels("There are no labelled recordings or no sets of options: give at least one.")


def asker(client: Client, model: str) -> Ask:
    """Return a function that asks a system about a recording, and has all of its labels ranked."""
    if client.method(model) == "emotion":  # which ranks them all in any case
        return lambda item, options: client.emotion(item.file, model=model, **cast(Any, options))
    return lambda item, options: client.classify(item.file, model=model, **cast(Any, {**options, "top_k": ALL}))


def labels_of(answer: Answer) -> dict[str, str]:
    """Return the system's labels -> their Chinese names, empty where the answer has none."""
    chinese = {entry.label: entry.label_zh for entry in answer.ranking}
    return {label: chinese.get(label, "") for label in answer.labels}


def true_labels(labelled: Sequence[Labelled], answer: Answer) -> list[str]:
    """The recordings' labels as the system calls them. Raises `InvalidLabels` for one that it does not have."""
    known = labels_of(answer)
    by_name = {letters(name): label for label, zh in known.items() for name in (zh, label) if name}
    for item in labelled:
        if letters(item.label) not in by_name:
            names = ", ".join(f"{label} {zh}".strip() for label, zh in known.items())
            raise InvalidLabels(
                f"'{item.label}', the label of '{item.file}', is none of {answer.model}'s: it knows {names}."
            )
    return [by_name[letters(item.label)] for item in labelled]


def letters(name: str) -> str:
    """Letters and digits alone: a folder cannot be named "Soul / R&B"."""
    return "".join(filter(str.isalnum, name.casefold()))


def judged(item: Labelled, truth: str, answer: Answer) -> Outcome:
    """An answer beside the truth."""
    if answer.best is None:
        return Outcome(str(item.file), item.group, truth, error="The recording is silent.")
    probabilities = dict(zip(answer.labels, answer.probabilities.tolist(), strict=True))
    return Outcome(
        file=str(item.file),
        group=item.group,
        truth=truth,
        label=answer.best.label,
        probability=probabilities[answer.best.label],
        rank=[entry.label for entry in answer.ranking].index(truth) + 1,
        true_probability=probabilities[truth],
        needs_review=answer.needs_review,
        seconds=answer.seconds,
    )


def summary(
    name: str,
    model: str,
    weights: Weights,
    options: dict[str, object],
    labels: list[str],
    outcomes: list[Outcome],
) -> Evaluation:
    """The evaluation of the recordings' outcomes."""
    index = {label: i for i, label in enumerate(labels)}
    pairs = [(index[o.truth], index[o.label]) for o in outcomes if o.label is not None]
    truth, answered = np.array(pairs, int).reshape(-1, 2).T
    confusion = metrics.confusion_matrix(truth, answered, len(labels))
    support = np.bincount([index[o.truth] for o in outcomes], minlength=len(labels))
    columns = zip(*metrics.precision_recall_f1(confusion, support), support, strict=True)
    classes = {
        label: ClassScores(float(precision), float(recall), float(f1), int(count))
        for label, (precision, recall, f1, count), times in zip(
            labels, columns, confusion.sum(axis=0), strict=True
        )
        if count or times
    }
    groups = dict.fromkeys(o.group for o in outcomes if o.group)  # in the order in which they come
    return Evaluation(
        name=name,
        model=model,
        weights=weights,
        options=options,
        overall=scores(outcomes),
        groups={group: scores([o for o in outcomes if o.group == group]) for group in groups},
        classes=classes,
        labels=labels,
        confusion=confusion.tolist(),
        outcomes=outcomes,
    )


def scores(outcomes: Sequence[Outcome]) -> Scores:
    """How good these are."""
    ranks = np.array([o.rank or np.inf for o in outcomes])
    answered = [o for o in outcomes if o.error is None]
    right = np.array([o.rank == 1 for o in answered])
    asked = [o for o in answered if o.needs_review is not None]
    sure = [o for o in asked if not o.needs_review]
    confidences = np.array([o.probability for o in answered])
    likelihoods = np.array([o.true_probability for o in answered])
    return Scores(
        recordings=len(outcomes),
        failed=len(outcomes) - len(answered),
        top1=metrics.top_k_accuracy(ranks, 1),
        top3=metrics.top_k_accuracy(ranks, 3),
        ece=metrics.calibration_error(confidences, right) if answered else None,
        nll=metrics.negative_log_likelihood(likelihoods) if answered else None,
        review=1 - len(sure) / len(asked) if asked else None,
        top1_sure=sum(o.rank == 1 for o in sure) / len(sure) if sure else None,
        seconds=statistics.median(o.seconds for o in answered if o.seconds is not None) if answered else None,
    )
