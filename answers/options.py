"""The request's OPTIONS: a JSON object, validated before any work starts.

Options are a tensor and not request parameters because the key of Triton's response cache has tensors only.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from answers.uncertainty import MEASURES
from preprocess import Enhancement, OptionError, Selection

MAX_BYTES = 4096


Part = TypeVar("Part", Enhancement, Selection)


@dataclass(frozen=True, kw_only=True)
class CommonOptions(Enhancement):
    """Options of every system; each field, also those of `Enhancement`, is a key of the JSON object.

    Attributes
    ----------
    example : OPTIONS that an error message shows
    temperature : divisor of the logits; "fitted": the one that `tritone calibrate` found for these weights
    label_smoothing : share of the probability to spread evenly over all classes
    uncertainty : measure that decides whether a person should review the answer; None: uncertainty is not reported
    review_threshold : value of the measure above which a person should review the answer
    timings : whether the answer reports how long each stage of the preparation took
    """

    example: ClassVar[str] = '{"timings": true}'

    temperature: float | str | None = None
    label_smoothing: float = 0.0
    uncertainty: str | None = None
    review_threshold: float = 0.7
    timings: bool = False

    def part(self, kind: type[Part]) -> Part:
        """Return the options that belong to `Enhancement` or `Selection`."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})

    def __post_init__(self) -> None:
        check_choice(self, "denoise", (None, "quietest", "first"))
        check_number(self, "denoise_factor", 0.1, 10)
        check_number(self, "denoise_floor", 0.0001, 1)
        if self.loudness is not None:
            check_number(self, "loudness", -70, 0, "null or a number of LUFS")
        check_number(self, "compress_threshold", -80, 0, "a number of dB")
        check_number(self, "compress_ratio", 1, 100)
        check_number(self, "compress_attack", 0.1, 1000, "a number of ms")
        check_number(self, "compress_release", 1, 5000, "a number of ms")
        if self.temperature is not None and self.temperature != "fitted":
            check_number(self, "temperature", 0.05, 20, 'null, "fitted" or a number')
        check_number(self, "label_smoothing", 0, 0.5)
        check_choice(self, "uncertainty", (None, *MEASURES))
        check_number(self, "review_threshold", 0, 1)
        check_flags(self, "compress", "timings")


Options = TypeVar("Options", bound=CommonOptions)


def parse_options(text: bytes | None, kind: type[Options], **defaults: object) -> Options:
    """Read OPTIONS (None or empty: all defaults).

    Parameters
    ----------
    text : the tensor's content
    kind : class of the system's options
    defaults : values for keys that were not sent, instead of those of `kind`

    Raises
    ------
    OptionError
        not a JSON object, an unknown key or an invalid value
    """
    if text and len(text) > MAX_BYTES:
        raise OptionError(f"OPTIONS has {len(text)} bytes, the limit is {MAX_BYTES}.")
    try:
        values = json.loads(text) if text and text.strip() else {}
    except (ValueError, RecursionError) as error:  # also invalid UTF-8
        raise OptionError(f"OPTIONS is not JSON ({error}); send an object such as {kind.example}.") from error
    if not isinstance(values, dict):
        raise OptionError(f"OPTIONS must be a JSON object, not {type(values).__name__}.")
    return read_options(values, kind, **defaults)


def read_options(values: Mapping[str, object], kind: type[Options], **defaults: object) -> Options:
    """Read options from the values of a JSON object; parameters and errors as in `parse_options`."""
    known = [field.name for field in fields(kind)]
    for key in values:
        if key not in known:
            raise OptionError(f"OPTIONS: {shown(key)} is unknown; choose from {', '.join(known)}.")
    chosen: dict[str, Any] = {**defaults, **values}
    return kind(**chosen)


def check_fitted(options: CommonOptions, manifest: dict) -> None:
    """Raise OptionError if a fitted temperature is requested and these weights have none."""
    if options.temperature == "fitted" and "calibration" not in manifest:
        raise OptionError(
            'OPTIONS: temperature cannot be "fitted": none has been fitted for these weights; send a number, or'
            " run tritone calibrate --store."
        )


def shown(value: object) -> str:
    """Format a value for an error message; cut long and nested values, whose `repr` may exhaust the stack."""
    return reprlib.repr(value)


def check_flags(options: CommonOptions, *names: str) -> None:
    """Raise OptionError if one of the options is neither true nor false."""
    for name in names:
        if type(getattr(options, name)) is not bool:
            raise OptionError(f"OPTIONS: {name} must be true or false, not {shown(getattr(options, name))}.")


def check_choice(options: CommonOptions, name: str, allowed: Iterable[str | None]) -> None:
    """Raise OptionError if an option is not one of the allowed words."""
    value, allowed = getattr(options, name), list(allowed)  # a list: JSON values need not be hashable
    if value not in allowed:
        choice = ", ".join("null" if word is None else word for word in allowed)
        raise OptionError(f"OPTIONS: {name} {shown(value)} is unknown; choose one of {choice}.")


def check_number(options: CommonOptions, name: str, low: float, high: float, what: str = "a number") -> None:
    """Raise OptionError if an option is not a number from `low` to `high`."""
    value = getattr(options, name)
    if type(value) not in (int, float) or not low <= value <= high:  # also false for NaN
        raise OptionError(f"OPTIONS: {name} must be {what} from {low:g} to {high:g}, not {shown(value)}.")


def check_integer(
    options: CommonOptions, name: str, low: int, high: int | None = None, what: str = "a whole number"
) -> None:
    """Raise OptionError if an option is not an integer from `low` to `high`, or of `low` or more."""
    value = getattr(options, name)
    if type(value) is not int or value < low or (high is not None and value > high):
        span = f"{low} up" if high is None else f"{low} to {high}"
        raise OptionError(f"OPTIONS: {name} must be {what} from {span}, not {shown(value)}.")
