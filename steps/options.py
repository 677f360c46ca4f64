"""The request's OPTIONS: a JSON object, validated before any work is done.

Options travel as a tensor and not as request parameters because Triton's response cache keys on tensors only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields

from preprocess import PROFILES, RecordingError

MAX_BYTES = 4096


@dataclass(frozen=True)
class Options:
    """What a client may ask for; each is one key of the JSON object."""

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
        for name in ("jpeg", "timings"):
            if type(getattr(self, name)) is not bool:
                raise RecordingError(f"OPTIONS: {name} must be true or false, not {getattr(self, name)!r}.")


def parse_options(text: bytes | None, default_profile: str) -> Options:
    """Read OPTIONS (None or empty: all defaults).

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
        raise RecordingError(f'OPTIONS is not JSON ({error}); send an object such as {{"top_k": 3}}.') from error
    if not isinstance(values, dict):
        raise RecordingError(f"OPTIONS must be a JSON object, not {type(values).__name__}.")
    known = [field.name for field in fields(Options)]
    for key in values:
        if key not in known:
            raise RecordingError(f"OPTIONS: {key!r} is unknown; known are {', '.join(known)}.")
    return Options(**{"profile": default_profile, **values})
