"""The temperature that calibrates probabilities: fitted on labelled recordings, stored in the manifest."""

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

LEAST = 10  # recordings needed to fit and test a temperature
# Options that apply after the slices' probabilities: the temperature is fitted to the mean of these.
LATER = ("temperature", "label_smoothing", "voting", "rules")


@dataclass(frozen=True)
class Reliability:
    """How well probabilities are calibrated, before (temperature 1) and after; `nll` and `ece` as in `Scores`."""

    temperature: float
    recordings: int
    nll: tuple[float, float]
    ece: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature.

    Attributes
    ----------
    fitted : fitted on all recordings, and measured on the same ones.
    held_out : fitted on half of each label's recordings, measured on the other half: the expected effect.
    options : the options of the calls.
    failed : file without an answer -> its error; these files are not used.
    weights : the weights that answered.
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
        """Whether the temperature is at a limit of its range: the recordings do not determine it."""
        ends = np.array([metrics.COOLEST, metrics.HOTTEST])
        return bool(np.isclose(self.fitted.temperature, ends, rtol=1e-3).any())

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
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

    Arguments and errors are those of `evaluate`. It also raises `InvalidRecording` for systems in which several
    classes can be correct (sigmoid), and `InvalidLabels` for options that apply after the temperature and for
    fewer than 10 answers.
    """
    options = dict(options or {})
    if later := [name for name in LATER if name in options]:
        raise InvalidLabels(
            f"The temperature is fitted to the mean over the slices: leave out the option '{later[0]}'."
        )
    # A temperature of 1 changes nothing, but systems with independent classes (sigmoid) reject it.
    ask, first = prepare(client, labelled, {"": {**options, "temperature": 1.0}}, model)
    truth = dict(zip(labelled, true_labels(labelled, first), strict=True))

    def probabilities(item: Labelled) -> Array | None:
        answer = ask(item, options)
        return None if answer.best is None else answer.row_probabilities

    rows: list[Array] = []
    classes: list[int] = []
    failed: dict[str, str] = {}
    with closing(in_order(client, probabilities, labelled, at_once=at_once, progress=progress)) as answers:
        for item, row in answers:
            if isinstance(row, np.ndarray):
                rows.append(row)
                classes.append(first.labels.index(truth[item]))
            else:
                failed[str(item.file)] = str(row or "The recording is silent.")
    if len(rows) < LEAST:
        raise InvalidLabels(
            f"Only {len(rows)} of {len(labelled)} recordings were answered: a temperature needs at least {LEAST}."
        )
    rows, classes = without_unused(rows, classes)
    # Every other recording of each label, shuffled: the order of the list must not matter.
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
    """Return probabilities and true classes without the labels that have probability 0 in every answer.

    The weights were not trained for these labels: they have no logit for a temperature to divide.
    """
    used = {*np.flatnonzero(np.max([row.max(axis=0) for row in rows], axis=0)).tolist(), *classes}
    columns = sorted(used)
    return [row[:, columns] for row in rows], [columns.index(c) for c in classes]


def reliability(
    rows: Sequence[Array], classes: Sequence[int], fit: Sequence[int], tried: Sequence[int]
) -> Reliability:
    """Fit on the recordings with the indices `fit`, and measure on those with the indices `tried`."""
    temperature = metrics.fit_temperature([rows[i] for i in fit], [classes[i] for i in fit])
    truth = np.array([classes[i] for i in tried])
    nll, ece = [], []
    for t in (1.0, temperature):
        answers = np.stack([metrics.scaled(rows[i], t) for i in tried])
        nll.append(metrics.negative_log_likelihood(answers[np.arange(len(tried)), truth]))
        ece.append(metrics.calibration_error(answers.max(axis=1), answers.argmax(axis=1) == truth))
    return Reliability(temperature, len(tried), (nll[0], nll[1]), (ece[0], ece[1]))


def manifest_path(store: Path, model: str) -> Path:
    """Return the manifest's path: `store` itself, or in the model repository `store`. Raises `InvalidLabels`."""
    path = store / f"{model}_network" / "1" / "manifest.json" if store.is_dir() else store
    if not path.is_file():
        raise InvalidLabels(
            f"There is no manifest '{path}': name the server's model_repository or the manifest.json of {model}."
        )
    return path


def store_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration atomically into the manifest of its weights. Raises `TritoneError`s."""
    with writing(path):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            sha256 = manifest["source"]["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidLabels(f"'{path}' is not a manifest ({type(error).__name__}: {error}).") from None
        if sha256 != calibration.weights.sha256:
            raise InvalidLabels(
                f"'{path}' belongs to other weights ({sha256[:12]}) than those that answered "
                f"({calibration.weights.sha256[:12]}): use the manifest of this server."
            )
        if calibration.at_an_end:
            raise InvalidLabels(
                f"The temperature {calibration.fitted.temperature:.3g} is at the limit of its range, so these "
                "recordings do not determine it: use more and harder ones. Nothing was stored."
            )
        fields = calibration.to_dict()
        manifest["calibration"] = {
            **fields["fitted"],
            "held_out": fields["held_out"],
            "options": fields["options"],
            "created": fields["created"],
        }
        with replacing(path) as stream:
            stream.write((json.dumps(manifest, ensure_ascii=False, indent=1) + "\n").encode())
