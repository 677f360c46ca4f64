"""The request's OPTIONS: a JSON object, validated before any work is done.

Options travel as a tensor and not as request parameters because Triton's response cache keys on tensors only.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, TypeVar

from postprocess.uncertainty import MEASURES
from postprocess.voting import VOTING
from preprocess import Cleaning, Hearing, RecordingError
from systems.tasks import MOST_SHOWN

MAX_BYTES = 4096
MOST_SEGMENTS = 32
MOST_SECONDS = 10.0
"""That a timeline may be smoothed over, or its shortest segment last."""


ONE_IS_RIGHT = {
    **{"temperature": None, "label_smoothing": 0.0, "uncertainty": None},
    **{"voting": "mean", "rules": False},
}
"""Options, with their defaults, that need probabilities whose sum is 1."""

Part = TypeVar("Part", Cleaning, Hearing)


@dataclass(frozen=True, kw_only=True)
class CommonOptions(Cleaning):
    """What a client may ask of any system; each is one key of the JSON object, and so are those of `Cleaning`."""

    temperature: float | str | None = None
    """Divides the logits; "fitted": by what `tritone calibrate` has found for these weights."""
    label_smoothing: float = 0.0
    """Share of the probability that is spread evenly over all classes."""
    uncertainty: str | None = None
    """The measure that decides whether a person should look at the answer; None: no measure is told."""
    review_threshold: float = 0.7
    """Above which it should."""
    timings: bool = False
    """Whether the answer tells what each stage of its preparation took."""

    def part(self, kind: type[Part]) -> Part:
        """Those of them that are `Cleaning` or `Hearing`."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})

    def __post_init__(self) -> None:
        _check_choice(self, "denoise", (None, "quietest", "first"))
        _check_number(self, "denoise_factor", 0.1, 10)
        _check_number(self, "denoise_floor", 0.0001, 1)
        if self.loudness is not None:
            _check_number(self, "loudness", -70, 0, "null or a number of LUFS")
        _check_number(self, "compress_threshold", -80, 0, "a number of dB")
        _check_number(self, "compress_ratio", 1, 100)
        _check_number(self, "compress_attack", 0.1, 1000, "a number of ms")
        _check_number(self, "compress_release", 1, 5000, "a number of ms")
        if self.temperature is not None and self.temperature != "fitted":
            _check_number(self, "temperature", 0.05, 20, 'null, "fitted" or a number')
        _check_number(self, "label_smoothing", 0, 0.5)
        _check_choice(self, "uncertainty", (None, *MEASURES))
        _check_number(self, "review_threshold", 0, 1)
        _check_flags(self, "compress", "timings")


@dataclass(frozen=True, kw_only=True)
class GenreOptions(CommonOptions, Hearing):
    """What a client may ask of a genre system; the keys of `Hearing`, too."""

    example: ClassVar[str] = '{"top_k": 3}'

    profile: str
    """How the recording is prepared; the default is the profile that the weights were made for."""
    top_k: int = 5
    """How many classes the answer ranks."""
    jpeg: bool = True
    """Profile `ccmusic`: the JPEG round trip that the training pictures went through."""
    voting: str = "mean"
    """How the slices are brought to one answer."""
    rules: bool = False
    """Whether the rules for these labels (postprocess/rule_files/) may change the probabilities."""
    explain: int = 0
    """For so many slices, those most sure of the answer, a map shows what in the picture spoke for it."""
    pictures: int = 0
    """For so many slices, the surest of the answer, the picture that the network saw; `explain` has its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_whole(self, "top_k", 1)
        _check_choice(self, "crop", (None, "first", "middle", "whole"))
        _check_number(self, "crop_seconds", 1, 600, "a number of seconds")
        if self.segments is not None:
            _check_whole(self, "segments", 1, MOST_SEGMENTS, "null or a whole number")
        _check_number(self, "segment_seconds", 1, 120, "a number of seconds")
        _check_choice(self, "voting", VOTING)
        _check_whole(self, "explain", 0, MOST_SHOWN)
        _check_whole(self, "pictures", 0, MOST_SHOWN)
        _check_flags(self, "jpeg", "skip_silence", "rules")


@dataclass(frozen=True, kw_only=True)
class EmotionOptions(CommonOptions):
    """What a client may ask of a speech emotion system."""

    example: ClassVar[str] = '{"smoothing": 1.0}'

    smoothing: float = 0.5
    """Seconds that the timeline is averaged over; 0: not at all."""
    min_segment: float = 0.5
    """Seconds that a segment of the timeline lasts at least."""
    frame_embeddings: bool = False
    """Whether FRAME_EMBEDDINGS has a row for every 20 ms (4 KiB each), and not the mean alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("smoothing", "min_segment"):
            _check_number(self, name, 0, MOST_SECONDS, "a number of seconds")
        _check_flags(self, "frame_embeddings")


Options = TypeVar("Options", GenreOptions, EmotionOptions)


def parse_options(text: bytes | None, kind: type[Options], **defaults: object) -> Options:
    """Read OPTIONS (None or empty: all defaults).

    Parameters
    ----------
    kind : the options that the system knows
    defaults : values for keys that are not sent, instead of those of `kind`

    Raises
    ------
    RecordingError
        not a JSON object, an unknown key or a value that is not accepted
    """
    if text and len(text) > MAX_BYTES:
        raise RecordingError(f"OPTIONS has {len(text)} bytes, at most {MAX_BYTES} are read.")
    try:
        values = json.loads(text) if text and text.strip() else {}
    except (ValueError, RecursionError) as error:  # also invalid UTF-8
        raise RecordingError(f"OPTIONS is not JSON ({error}); send an object such as {kind.example}.") from error
    if not isinstance(values, dict):
        raise RecordingError(f"OPTIONS must be a JSON object, not {type(values).__name__}.")
    return read_options(values, kind, **defaults)


def read_options(values: Mapping[str, object], kind: type[Options], **defaults: object) -> Options:
    """Options from the values of a JSON object; parameters and errors are those of `parse_options`."""
    known = [field.name for field in fields(kind)]
    for key in values:
        if key not in known:
            raise RecordingError(f"OPTIONS: {_shown(key)} is unknown; known are {', '.join(known)}.")
    return kind(**{**defaults, **values})


def check_fitted(options: CommonOptions, manifest: dict) -> None:
    """RecordingError for a fitted temperature that these weights do not have."""
    if options.temperature == "fitted" and "calibration" not in manifest:
        raise RecordingError(
            'OPTIONS: temperature "fitted" is not known for these weights; send a number, or let'
            " tritone calibrate --store find it."
        )


def check_profile(options: GenreOptions, profiles: Iterable[str]) -> None:
    """RecordingError for a profile that makes no rows for these weights."""
    _check_choice(options, "profile", profiles)


def check_activation(options: GenreOptions, manifest: dict) -> None:
    """RecordingError for an option that means something only where one class of all is right."""
    if manifest.get("activation", "softmax") == "softmax":
        return
    for name, default in ONE_IS_RIGHT.items():
        if getattr(options, name) != default:
            raise RecordingError(
                f"OPTIONS: {name} is for systems of which one class is right; the classes of {manifest['system']}"
                " are each for itself (sigmoid): leave it out."
            )


def _shown(value: object) -> str:
    """A value for a sentence: long ones are cut, and so are nested ones, whose `repr` may exhaust the stack."""
    return reprlib.repr(value)


def _check_flags(options: CommonOptions, *names: str) -> None:
    for name in names:
        if type(getattr(options, name)) is not bool:
            raise RecordingError(f"OPTIONS: {name} must be true or false, not {_shown(getattr(options, name))}.")


def _check_choice(options: CommonOptions, name: str, allowed: Iterable[str | None]) -> None:
    value, allowed = getattr(options, name), list(allowed)  # a list: JSON values need not be hashable
    if value not in allowed:
        choice = ", ".join("null" if word is None else word for word in allowed)
        raise RecordingError(f"OPTIONS: {name} {_shown(value)} is unknown; choose one of {choice}.")


def _check_number(options: CommonOptions, name: str, low: float, high: float, what: str = "a number") -> None:
    value = getattr(options, name)
    if type(value) not in (int, float) or not low <= value <= high:  # NaN is not, either
        raise RecordingError(f"OPTIONS: {name} must be {what} from {low:g} to {high:g}, not {_shown(value)}.")


def _check_whole(
    options: CommonOptions, name: str, low: int, high: int | None = None, what: str = "a whole number"
) -> None:
    value = getattr(options, name)
    if type(value) is not int or value < low or (high is not None and value > high):
        span = f"{low} up" if high is None else f"{low} to {high}"
        raise RecordingError(f"OPTIONS: {name} must be {what} from {span}, not {_shown(value)}.")
