"""Reads a server's answer field by field, and raises `ValueError` or `KeyError` for anything unexpected."""

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tritone_client.answer import Runtime, Weights

DEEPEST = 32  # levels of RESULT: Python may read a deeper object and then fail to write it
LONGEST = 1e9  # seconds
ROUNDING = 1e-3  # by which a share may lie outside [0, 1]

Tensors = dict[str, npt.NDArray[Any]]


class Fields:
    """An object in RESULT whose fields are read by their expected types; `where` is its path in messages."""

    def __init__(self, value: object, where: str = "RESULT") -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is not an object")
        self.values, self.where = value, where

    def has(self, name: str) -> bool:
        """Return whether a field exists and is not null."""
        return self.values.get(name) is not None

    def text(self, name: str) -> str:
        """Return a field that must be a text."""
        return str(self._check(name, isinstance(self.values[name], str), "text"))

    def flag(self, name: str) -> bool:
        """Return a field that must be true or false."""
        return bool(self._check(name, isinstance(self.values[name], bool), "true or false"))

    def count(self, name: str) -> int:
        """Return a field that must be a non-negative integer."""
        value = self.values[name]
        return int(self._check(name, type(value) is int and 0 <= value < 2**63, "count"))

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a field that must be a number from `low` to `high`."""
        value = self.values[name]
        return float(self._check(name, is_finite(value) and low <= value <= high, "number in range"))

    def share(self, name: str) -> float:
        """Return a field that must be a number from 0 to 1."""
        return self.number(name, -ROUNDING, 1 + ROUNDING)

    def seconds(self, name: str) -> float:
        """Return a field that must be a duration or a point in time."""
        return self.number(name, 0, LONGEST)

    def one_of(self, name: str, known: Iterable[str]) -> str:
        """Return a field that must be one of the `known` texts."""
        return str(self._check(name, self.text(name) in known, "label that the model has"))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field that must be a list of texts."""
        values = self._list(name)
        return tuple(self._check(name, all(isinstance(value, str) for value in values), "list of texts"))

    def indices(self, name: str, size: int) -> tuple[int, ...]:
        """Return a field that must be a list of indices below `size`."""
        are_indices = all(type(value) is int and 0 <= value < size for value in self._list(name))
        return tuple(self._check(name, are_indices, "list of indices"))

    def object(self, name: str) -> "Fields":
        """Return a field that must be an object."""
        return Fields(self.values[name], f"{self.where}.{name}")

    def objects(self, name: str) -> list["Fields"]:
        """Return a field that must be a list of objects."""
        return [Fields(value, f"{self.where}.{name}[{i}]") for i, value in enumerate(self._list(name))]

    def numbers(self) -> dict[str, float]:
        """Return all fields, which must be numbers."""
        return {name: self.number(name) for name in self.values}

    def _list(self, name: str) -> list[Any]:
        return list(self._check(name, isinstance(self.values[name], list), "list"))

    def _check(self, name: str, is_right: bool, kind: str) -> Any:
        if not is_right:
            raise ValueError(f"{self.where}.{name} is not a valid {kind}")
        return self.values[name]


def result_of(tensors: Tensors) -> dict[str, Any]:
    """Return RESULT, which must be an object without NaN and not too deep to be written again."""
    (text,) = tensor(tensors, "RESULT", object, 1)
    raw: dict[str, Any] = json.loads(text, parse_float=finite_float, parse_constant=finite_float)
    level: list[Any] = [Fields(raw).values]
    for _ in range(DEEPEST):
        level = [child for value in level for child in children(value)]
        if not level:
            return raw
    raise ValueError(f"RESULT is deeper than {DEEPEST} levels")


def children(value: object) -> Iterable[Any]:
    """Return the values in a JSON object or list."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def labels_of(tensors: Tensors) -> tuple[str, ...]:
    """Return LABELS, which must be distinct."""
    labels = tuple(label.decode() for label in tensor(tensors, "LABELS", object, None))
    if not labels or len(set(labels)) < len(labels):
        raise ValueError("LABELS are missing or not distinct")
    return labels


def tensor(tensors: Tensors, name: str, dtype: npt.DTypeLike, *shape: int | None) -> npt.NDArray[Any]:
    """Return a tensor, which must have this type and shape (None: any size) and no NaN."""
    array = tensors.get(name)
    if array is None:
        raise KeyError(name)
    fits = array.ndim == len(shape) and all(
        want in (None, has) for want, has in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} has NaN or infinite numbers")
    return array


def shares(tensors: Tensors, name: str, *shape: int | None) -> npt.NDArray[np.float32]:
    """Return a tensor, which must be float32 with numbers from 0 to 1."""
    array = tensor(tensors, name, np.float32, *shape)
    if array.size and (array.min() < -ROUNDING or array.max() > 1 + ROUNDING):
        raise ValueError(f"{name} has numbers outside of 0 to 1")
    return array


def finite_float(text: str) -> float:
    """Return a number of JSON. Raises `ValueError` for NaN, and for a number too large for a float."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is not a finite number")
    return value


def is_finite(value: object) -> bool:
    """Return whether this is a number, float or integer, that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def uncertainty(result: Fields) -> dict[str, Any]:
    """Return `needs_review` and the measures of `uncertainty`, if the options requested them."""
    measures = result.object("uncertainty").numbers() if result.has("uncertainty") else {}
    if result.has("review"):
        review = result.object("review")
        review.one_of("by", measures)
        review.number("threshold")
    return {
        "needs_review": result.flag("needs_review") if result.has("needs_review") else None,
        "uncertainty": measures,
    }


def runtime(result: Fields) -> Runtime | None:
    """Return where the network ran and how; None if the server does not report it."""
    if not result.has("computed"):
        return None
    computed = result.object("computed")
    return Runtime(computed.text("device"), computed.text("precision"), computed.text("backend"))


def weights(result: Fields) -> Weights:
    """Return where the weights come from."""
    entry = result.object("weights")
    return Weights(entry.text("origin"), entry.text("source"), entry.text("sha256"), demo=entry.flag("demo"))
