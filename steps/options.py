"""The request's OPTIONS: a JSON object, validated before any work is done.

Options travel as a tensor and not as request parameters because Triton's response cache keys on tensors only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import ClassVar, TypeVar

from preprocess import PROFILES, RecordingError

MAX_BYTES = 4096
MOST_SECONDS = 10.0
"""That a timeline may be smoothed over, or its shortest segment last."""


@dataclass(frozen=True)
class GenreOptions:
    """What a client may ask of a genre system; each is one key of the JSON object."""

    example: ClassVar[str] = '{"top_k": 3}'

    profile: str
    """How the recording is prepared; the default is the profile that the weights were made for."""
    top_k: int = 5
    """How many classes the answer ranks."""
    jpeg: bool = True
    """Profile `ccmusic`: the JPEG round trip that the training pictures went through."""
    timings: bool = False
    """Whether the answer tells what each stage of its preparation took."""

    def __post_init__(self) -> None:
        if self.profile not in list(PROFILES):  # a list: JSON values need not be hashable
            raise RecordingError(
                f"OPTIONS: profile {self.profile!r} is unknown; choose one of {', '.join(PROFILES)}."
            )
        if type(self.top_k) is not int or self.top_k < 1:
            raise RecordingError(f"OPTIONS: top_k must be a whole number from 1 up, not {self.top_k!r}.")
        _check_flags(self, "jpeg", "timings")


@dataclass(frozen=True)
class EmotionOptions:
    """What a client may ask of a speech emotion system; each is one key of the JSON object."""

    example: ClassVar[str] = '{"smoothing": 1.0}'

    smoothing: float = 0.5
    """Seconds that the timeline is averaged over; 0: not at all."""
    min_segment: float = 0.5
    """Seconds that a segment of the timeline lasts at least."""
    frame_embeddings: bool = False
    """Whether FRAME_EMBEDDINGS has a row for every 20 ms (4 KiB each), and not the mean alone."""
    timings: bool = False
    """Whether the answer tells what each stage of its preparation took."""

    def __post_init__(self) -> None:
        for name in ("smoothing", "min_segment"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value <= MOST_SECONDS:  # NaN is not, either
                raise RecordingError(
                    f"OPTIONS: {name} must be a number of seconds from 0 to {MOST_SECONDS:g}, not {value!r}."
                )
        _check_flags(self, "frame_embeddings", "timings")


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
    known = [field.name for field in fields(kind)]
    for key in values:
        if key not in known:
            raise RecordingError(f"OPTIONS: {key!r} is unknown; known are {', '.join(known)}.")
    return kind(**{**defaults, **values})


def _check_flags(options: GenreOptions | EmotionOptions, *names: str) -> None:
    for name in names:
        if type(getattr(options, name)) is not bool:
            raise RecordingError(f"OPTIONS: {name} must be true or false, not {getattr(options, name)!r}.")
