"""Rules: knowledge about genres, beside the network, that makes labels more or less probable.

TOML files in `answers/genre/rule_files/`, one for each set of labels, declare them:

    [[rule]]
    name = "fast with a strong beat"
    why = "Orchestras play few drums."
    when.tempo.above = 140                  # features of preprocess.features; all conditions must hold:
    when.beat_strength.above = 0.7          # above, below or both
    factors."Symphony" = 0.3                # labels in English; probabilities are renormalised after each rule
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Array = npt.NDArray[np.float32]

# Features that rules may use; preprocess.features measures them.
FEATURES = ("tempo", "beat_strength", "low_frequency_share", "voice_presence")
FOLDER = Path(__file__).with_name("rule_files")
KEYS = {"name", "why", "when", "factors"}


@dataclass(frozen=True)
class Rule:
    """Factors for labels, and the conditions for applying them.

    Attributes
    ----------
    name : description of the condition
    why : why it affects the labels
    when : feature -> (above, below), both exclusive
    factors : label in English -> factor, above 0
    """

    name: str
    why: str
    when: dict[str, tuple[float, float]]
    factors: dict[str, float]

    def holds(self, features: dict[str, float]) -> bool:
        """Whether all conditions hold."""
        return all(above < features[name] < below for name, (above, below) in self.when.items())


Rules = tuple[Rule, ...]


def load_rules(labels: Sequence[str], folder: Path = FOLDER) -> Rules | None:
    """Return the rules of the file that names only these labels; None if there is no such file.

    Parameters
    ----------
    labels : labels of the weights, in English
    folder : folder of the TOML files

    Raises
    ------
    ValueError
        a file is not TOML or has invalid keys or values, or two files fit
    """
    fitting = {}
    for path in sorted(folder.glob("*.toml")):
        rules = read_rules(path)
        if all(set(rule.factors) <= set(labels) for rule in rules):
            fitting[path.name] = rules
    if len(fitting) > 1:
        raise ValueError(f"{folder}: {' and '.join(fitting)} both have rules for these labels; keep one of them.")
    return next(iter(fitting.values()), None)


def read_rules(path: Path) -> Rules:
    """Read one file; errors as in `load_rules`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not TOML: {error}.") from error
    entries = content.get("rule")
    if set(content) != {"rule"} or not _is_list_of_tables(entries):
        raise ValueError(f"{path}: expected [[rule]] tables and nothing else, not {_listed(content)}.")
    return tuple(_rule(f"{path}: rule {_title(k, entry)}", entry) for k, entry in enumerate(entries, 1))


def apply(
    rules: Rules, probabilities: Array, features: dict[str, float], labels: Sequence[str]
) -> tuple[Array, list[dict[str, Any]]]:
    """Apply the rules that hold, one after the other.

    Parameters
    ----------
    rules : from `load_rules(labels)`
    probabilities : float32 [classes]
    features : features of the recording, see `preprocess.features`
    labels : names of the classes, in English

    Returns
    -------
    probabilities : float32 [classes] with sum 1; the given ones if no rule holds
    applied : for each rule that holds {"rule", "because": the features in its conditions, "changes": [{"label",
        "factor", "before", "after"}]}, with the probabilities before and after this rule
    """
    holding = [rule for rule in rules if rule.holds(features)]
    exact, applied = probabilities.astype(np.float64), []
    for rule in holding:
        factors = np.array([rule.factors.get(label, 1.0) for label in labels])
        before, exact = exact, exact * factors / np.dot(exact, factors)
        changes = [
            {"label": label, "factor": factor, "before": float(before[k]), "after": float(exact[k])}
            for label, factor in rule.factors.items()
            for k in [labels.index(label)]
        ]
        because = {name: features[name] for name in rule.when}
        applied.append({"rule": rule.name, "because": because, "changes": changes})
    return exact.astype(np.float32) if holding else probabilities, applied


def _rule(place: str, entry: dict[str, Any]) -> Rule:
    """Check one table; `place` names the file and the rule in errors."""
    if set(entry) != KEYS:
        raise ValueError(f"{place}: expected the keys name, why, when and factors, not {_listed(entry)}.")
    for key in ("name", "why"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise ValueError(f"{place}: {key} must be a text, not {entry[key]!r}.")
    for key in ("when", "factors"):
        if not isinstance(entry[key], dict) or not entry[key]:
            raise ValueError(f"{place}: {key} must name at least one, not {entry[key]!r}.")
    for label, factor in entry["factors"].items():
        if not _is_number(factor) or factor <= 0:
            raise ValueError(f"{place}: the factor of {label!r} must be a number above 0, not {factor!r}.")
    when = {name: _bounds(place, name, bounds) for name, bounds in entry["when"].items()}
    factors = {label: float(factor) for label, factor in entry["factors"].items()}
    return Rule(entry["name"], entry["why"], when, factors)


def _bounds(place: str, name: str, bounds: object) -> tuple[float, float]:
    if name not in FEATURES:
        raise ValueError(f"{place}: {name!r} is not a feature; choose from {', '.join(FEATURES)}.")
    if not isinstance(bounds, dict) or not bounds or not set(bounds) <= {"above", "below"}:
        raise ValueError(f"{place}: the condition on {name} must be above, below or both, not {bounds!r}.")
    for bound in bounds.values():
        if not _is_number(bound):
            raise ValueError(f"{place}: the bounds of {name} must be numbers, not {bound!r}.")
    above, below = float(bounds.get("above", -math.inf)), float(bounds.get("below", math.inf))
    if above >= below:
        raise ValueError(f"{place}: {name} cannot be above {above:g} and below {below:g}.")
    return above, below


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)


def _title(k: int, entry: dict[str, Any]) -> str:
    return f"{k} ({entry['name']!r})" if "name" in entry else str(k)


def _listed(table: dict[str, Any]) -> str:
    return ", ".join(table) or "nothing"
