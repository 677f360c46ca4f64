"""The temperature that makes probabilities true: fitted on labelled recordings, kept in the weights' manifest."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tritone_client.answer import Weights
from tritone_client.client import Client
from tritone_client.defaults import IN_FLIGHT, MODEL
from tritone_client.errors import InvalidLabels
from tritone_client.evaluation import metrics
from tritone_client.evaluation.evaluate import prepare, true_labels
from tritone_client.evaluation.labelled import Labelled
from tritone_client.files import replacing, writing
from tritone_client.inflight import in_order

Array = npt.NDArray[np.floating[Any]]

LEAST = 10  # recordings that a temperature can be fitted on and tried on
# What comes behind the slices' probabilities: the fit is of their mean.
BEHIND = ("temperature", "label_smoothing", "voting", "rules")


@dataclass(frozen=True)
class Reliability:
    """How true probabilities are, before (temperature 1) and after; `nll` and `ece` as in `Scores`."""

    temperature: float
    recordings: int
    nll: tuple[float, float]
    ece: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature.

    Attributes
    ----------
    fitted : fitted on all recordings, and measured on them too.
    held_out : fitted on half of each label's recordings, measured on the others: what to expect.
    options : what the answers were asked with.
    failed : the files without an answer, and why; these are left out.
    weights : those that answered.
    created : date and time, UTC.
    """

    model: str
    fitted: Reliability
    held_out: Reliability
    options: dict[str, object]
    failed: dict[str, str]
    weights: Weights
    created: str

    @property
    def at_an_end(self) -> bool:
        """Whether the temperature is the lowest or highest there is: the recordings did not decide it."""
        ends = np.array([metrics.COOLEST, metrics.HOTTEST])
        return bool(np.isclose(self.fitted.temperature, ends, rtol=1e-3).any())

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def calibrate(
    client: Client,
    labelled: Sequence[Labelled],
    model: str = MODEL,
    options: Mapping[str, object] | None = None,
    *,
    at_once: int = IN_FLIGHT,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Calibration:
    """Fit the temperature of `model` on labelled recordings by the negative log-likelihood of their labels.

    Arguments and errors are those of `evaluate`; `InvalidRecording` also where more than one class can be right
    (sigmoid), `InvalidLabels` also for options behind the temperature, and for fewer than 10 answers.
    """
    options = dict(options or {})
    if behind := [name for name in BEHIND if name in options]:
        raise InvalidLabels(
            f"The temperature is fitted to the mean over the slices, without '{behind[0]}': leave it out."
        )
    # A temperature of 1 changes nothing, and is refused by systems whose classes are each for themselves.
    ask, first = prepare(client, labelled, {"": {**options, "temperature": 1.0}}, model)
    truth = dict(zip(labelled, true_labels(labelled, first), strict=True))

    def probabilities(item: Labelled) -> Array | None:
        answer = ask(item, options)
        return None if answer.best is None else answer.row_probabilities

    rows: list[Array] = []
    classes: list[int] = []
    failed: dict[str, str] = {}
    with closing(in_order(client, probabilities, labelled, at_once=at_once, progress=progress)) as found:
        for item, row in found:
            if isinstance(row, np.ndarray):
                rows.append(row)
                classes.append(first.labels.index(truth[item]))
            else:
                failed[str(item.file)] = str(row or "The recording is silent.")
    if len(rows) < LEAST:
        raise InvalidLabels(
            f"{len(rows)} of {len(labelled)} recordings were answered: a temperature needs at least {LEAST}."
        )
    rows, classes = without_unused(rows, classes)
    # Every other one of each label, shuffled: lists have an order that must not decide.
    order = np.random.default_rng(0).permutation(len(rows))
    order = order[np.argsort(np.array(classes)[order], kind="stable")]
    return Calibration(
        model=model,
        fitted=reliability(rows, classes, range(len(rows)), range(len(rows))),
        held_out=reliability(rows, classes, order[::2].tolist(), order[1::2].tolist()),
        options=options,
        failed=failed,
        weights=first.weights,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def without_unused(rows: list[Array], classes: list[int]) -> tuple[list[Array], list[int]]:
    """Probabilities and true classes without the labels that no answer gives anything.

    The weights were not trained for them: they have no logit that a temperature would divide.
    """
    used = {*np.flatnonzero(np.max([row.max(axis=0) for row in rows], axis=0)).tolist(), *classes}
    columns = sorted(used)
    return [row[:, columns] for row in rows], [columns.index(c) for c in classes]


def reliability(
    rows: Sequence[Array], classes: Sequence[int], fit: Sequence[int], tried: Sequence[int]
) -> Reliability:
    """Fit on the recordings of some indices, measure on those of others."""
    temperature = metrics.fit_temperature([rows[i] for i in fit], [classes[i] for i in fit])
    truth = np.array([classes[i] for i in tried])
    nll, ece = [], []
    for t in (1.0, temperature):
        answers = np.stack([metrics.scaled(rows[i], t) for i in tried])
        nll.append(metrics.negative_log_likelihood(answers[np.arange(len(tried)), truth]))
        ece.append(metrics.calibration_error(answers.max(axis=1), answers.argmax(axis=1) == truth))
    return Reliability(temperature, len(tried), (nll[0], nll[1]), (ece[0], ece[1]))


def manifest_path(store: Path, model: str) -> Path:
    """The manifest that `store` names: the file itself, or a model repository. Raises `InvalidLabels`."""
    path = store / f"{model}_network" / "1" / "manifest.json" if store.is_dir() else store
    if not path.is_file():
        raise InvalidLabels(
            f"There is no manifest '{path}': name the server's model_repository or the manifest.json of {model}."
        )
    return path


def store_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration into the manifest of the weights that it is of, at once. Raises `TritoneError`s."""
    with writing(path):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            sha256 = manifest["source"]["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidLabels(f"'{path}' is no manifest ({type(error).__name__}: {error}).") from None
        if sha256 != calibration.weights.sha256:
            raise InvalidLabels(
                f"'{path}' is of other weights ({sha256[:12]}) than those that answered "
                f"({calibration.weights.sha256[:12]}): name the manifest of the server that was asked."
            )
        if calibration.at_an_end:
            raise InvalidLabels(
                f"The temperature {calibration.fitted.temperature:.3g} is the end of what there is: these "
                "recordings do not decide it, use more and harder ones. Nothing was stored."
            )
        found = calibration.to_dict()
        manifest["calibration"] = {
            **found["fitted"],
            "held_out": found["held_out"],
            "options": found["options"],
            "created": found["created"],
        }
        with replacing(path) as stream:
            stream.write((json.dumps(manifest, ensure_ascii=False, indent=1) + "\n").encode())
