"""INFO: metadata that a system's preprocess step sends to its postprocess step, validated like client input.

INFO usually comes from the preprocess step, but any client may call `<system>_postprocess` with its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic

from answers.options import Options, read_options
from preprocess import RecordingError

if TYPE_CHECKING:
    from typing_extensions import Self

# A recording of 32 slices needs 4 KiB, and each damaged link of a chained Ogg adds a note.
MAX_BYTES = 1 << 20
# Levels of nesting: an object of lists of lists, or of objects of objects.
MAX_DEPTH = 3
# Largest magnitude of a number: seconds, milliseconds, frames, slices, features.
MAX_NUMBER = 1e9

Check = Callable[[object], bool]


class InputError(RecordingError):
    """The tensors of a request do not fit together, or INFO is invalid."""

    code = "input"


def is_number(value: object) -> bool:
    """Whether a value is a number that JSON can represent and whose sums are finite."""
    return (type(value) is int or type(value) is float) and -MAX_NUMBER <= value <= MAX_NUMBER


def is_count(value: object) -> bool:
    """Whether a value is an integer of 0 or more."""
    return type(value) is int and 0 <= value <= MAX_NUMBER


def is_list_of(check: Check, length: int | None = None) -> Check:
    """Make a check for lists whose elements pass a check; of any length by default."""
    return lambda value: (
        isinstance(value, list) and length in (None, len(value)) and all(check(element) for element in value)
    )


def is_object_of(check: Check) -> Check:
    """Make a check for objects whose values pass a check."""
    return lambda value: isinstance(value, dict) and all(check(element) for element in value.values())


def is_text(value: object) -> bool:
    """Whether a value is a string."""
    return isinstance(value, str)


def is_sha256(value: object) -> bool:
    """Whether a value is 64 hexadecimal digits."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def or_none(check: Check) -> Check:
    """Make a check that also accepts null and a missing key."""
    return lambda value: value is None or check(value)


def checked(check: Check, words: str) -> Any:
    """Declare a field of INFO: the check of its value, and its description in words; None if it was not sent."""
    return field(default=None, metadata={"check": check, "words": words})


@dataclass(frozen=True, kw_only=True)
class Info(Generic[Options]):
    """INFO of every system; the fields are its JSON keys.

    Attributes
    ----------
    options : every option with its value
    duration : seconds of the recording
    notes : sentences for the reader of the answer
    milliseconds : duration of each stage of the preparation
    cleaned : report of each enhancement step
    sha256 : hash of the request (`step.request_sha256`)
    """

    options: Options
    duration: float = checked(is_number, "a number of seconds")
    notes: list[str] = checked(is_list_of(is_text), "a list of texts")
    milliseconds: dict[str, float] | None = checked(or_none(is_object_of(is_number)), "an object of numbers")
    cleaned: dict[str, dict] | None = checked(
        or_none(is_object_of(is_object_of(lambda v: is_number(v) or is_text(v)))), "an object of objects"
    )
    sha256: str | None = checked(or_none(is_sha256), "64 hexadecimal digits")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that the preprocess step sends."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: bytes, kind: type[Options], **defaults: object) -> Self:
        """Read INFO.

        Parameters
        ----------
        text : as received
        kind, defaults : options of the system, as in `parse_options`

        Raises
        ------
        InputError
            not a JSON object, too large or nested too deep, or a key or an option has an invalid value
        """
        received = _object(text)
        values: dict[str, Any] = {}
        for each in fields(cls):
            if each.name != "options":
                values[each.name] = received.get(each.name)
                if not each.metadata["check"](values[each.name]):
                    raise InputError(f"INFO: {each.name} must be {each.metadata['words']}.")
        options = received.get("options")
        if not isinstance(options, dict):
            raise InputError("INFO: options must be an object.")
        try:
            return cls(options=read_options(options, kind, **defaults), **values)
        except RecordingError as error:
            raise InputError(f"INFO: {error}") from error


def milliseconds(seconds: dict[str, float]) -> dict[str, float]:
    """Convert the seconds of stages for INFO."""
    return {stage: round(1000 * s, 3) for stage, s in seconds.items()}


def _object(text: bytes) -> dict:
    if len(text) > MAX_BYTES:
        raise InputError(f"INFO has {len(text)} bytes, the limit is {MAX_BYTES}.")
    try:
        info = json.loads(text)
        # As for RESULT later: no NaN, no lone surrogates.
        json.dumps(info, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(f"INFO is not JSON ({error}).") from error
    if not isinstance(info, dict):
        raise InputError(f"INFO must be a JSON object, not {type(info).__name__}.")
    if _deeper(info, MAX_DEPTH):
        raise InputError(f"INFO may nest lists and objects at most {MAX_DEPTH} deep.")
    return info


def _deeper(value: object, most: int) -> bool:
    """Whether lists and objects are nested more than `most` deep."""
    if not isinstance(value, (dict, list)):
        return False
    return most == 0 or any(
        _deeper(element, most - 1) for element in (value.values() if isinstance(value, dict) else value)
    )
