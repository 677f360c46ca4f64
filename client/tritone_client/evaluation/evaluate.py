"""The accuracy of a system on labelled recordings, with several sets of options side by side.

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
    """The answer to one recording beside its true label.

    Attributes
    ----------
    label : the system's answer, with its `probability`; None without an answer.
    rank : rank of the true label in the answer, from 1; None without an answer.
    true_probability : probability of the true label.
    needs_review : None unless the options ask for `uncertainty`.
    seconds : wall time of the call; None without an answer.
    error : why there was no answer; None with an answer.
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
    """The quality of the answers to some recordings; a recording without an answer counts as wrong.

    Attributes
    ----------
    recordings : number of recordings, `failed` of them without an answer.
    top1 : share whose true label is the answer; `top3`: whose true label is among the first three.
    ece : expected calibration error in 15 equal bins, of the answers; None without any.
    nll : mean of -ln p of the true label, each p at least 1e-7, of the answers; None without any.
    review : share of the answers that need review; None unless the options ask for `uncertainty`.
    top1_sure : share of correct answers among those that need no review; None without any.
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
    """The scores of one label, 0 where the divisor is 0; `support` is the number of its recordings."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a system on labelled recordings with one set of options.

    Attributes
    ----------
    options : the set of options.
    groups : scores by group; empty if the recordings have no groups.
    classes : scores by label, of the labels that occur in the recordings or the answers.
    labels : all labels of the system, the order of `confusion`.
    confusion : number of recordings of label (row) that were answered with label (column).
    outcomes : the outcome of each recording.
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
        """Return all fields, ready for JSON."""
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
    """Classify each recording with each set of options, and return the evaluations by the sets' names.

    Parameters
    ----------
    client : its timeout applies to each call. It is closed if the evaluation is interrupted.
    labelled : recordings with their labels, English or Chinese (emotions: English).
    option_sets : options by name; each recording is sent with every set in turn, so that the load of the server
        affects all sets alike.
    model : the system to ask, of genres or of emotions.
    at_once : calls in flight. With 1, `seconds` is the latency of a single call; if the server has a recording
        with the same options in its cache, it answers at once.
    progress : wraps the calls to show the progress, as `rich.progress.track` does.

    Raises
    ------
    InvalidLabels
        The system does not have one of the labels.
    InvalidRecording
        An option is unknown or rejected, or the server rejects all recordings.
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
        with reading_answer():  # it may lack labels that the first answer had
            return outcome_of(item, right, answer)

    outcomes: dict[str, list[Outcome]] = {name: [] for name in option_sets}
    with closing(in_order(client, outcome, questions, at_once=at_once, progress=progress)) as answers:
        for (item, right, name), answer in answers:
            if isinstance(answer, TritoneError):
                answer = Outcome(str(item.file), item.group, right, error=str(answer))
            outcomes[name].append(answer)
    return {
        name: summary(name, model, first.weights, dict(option_sets[name]), labels, outcomes[name])
        for name in option_sets
    }


def prepare(
    client: Client, labelled: Sequence[Labelled], option_sets: OptionSets, model: str
) -> tuple[Ask, Answer]:
    """Return how to ask the model, and its first answer; raise now what would make every call fail."""
    for options in option_sets.values():
        check_names(options)
    ask = asker(client, model)
    failure: TritoneError | None = None
    for item in labelled:
        answers = []
        for options in option_sets.values():
            try:
                answers.append(ask(item, options))
            except (InvalidRecording, InferenceFailed, DeadlineExceeded) as error:
                if isinstance(error, InvalidRecording) and error.code in ("option", "unexplained"):
                    raise
                failure = failure or error
        if answers:
            return ask, answers[0]
    raise failure or InvalidLabels("There are no labelled recordings or no sets of options: give at least one.")


def asker(client: Client, model: str) -> Ask:
    """Return a function that sends a recording to a system, and requests all labels ranked."""
    if client.method(model) == "emotion":  # it always ranks all labels
        return lambda item, options: client.emotion(item.file, model=model, **cast(Any, options))
    return lambda item, options: client.classify(item.file, model=model, **cast(Any, {**options, "top_k": ALL}))


def labels_of(answer: Answer) -> dict[str, str]:
    """Return the system's labels -> their Chinese names, empty if the answer has none."""
    chinese = {entry.label: entry.label_zh for entry in answer.ranking}
    return {label: chinese.get(label, "") for label in answer.labels}


def true_labels(labelled: Sequence[Labelled], answer: Answer) -> list[str]:
    """Return the recordings' labels as the system names them. Raises `InvalidLabels` for an unknown label."""
    known = labels_of(answer)
    by_name = {letters(name): label for label, zh in known.items() for name in (zh, label) if name}
    for item in labelled:
        if letters(item.label) not in by_name:
            names = ", ".join(f"{label} {zh}".strip() for label, zh in known.items())
            raise InvalidLabels(
                f"'{item.label}', the label of '{item.file}', is not a label of {answer.model}, which has {names}."
            )
    return [by_name[letters(item.label)] for item in labelled]


def letters(name: str) -> str:
    """Return only the letters and digits of a name: a folder cannot be named "Soul / R&B"."""
    return "".join(filter(str.isalnum, name.casefold()))


def outcome_of(item: Labelled, truth: str, answer: Answer) -> Outcome:
    """Return an answer beside the true label."""
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
    """Return the evaluation for the outcomes of all recordings."""
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
    groups = dict.fromkeys(o.group for o in outcomes if o.group)  # in their first order of appearance
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
    """Return the scores of some outcomes."""
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
