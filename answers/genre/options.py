"""OPTIONS of a genre system, and which of them weights know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from answers.options import CommonOptions, check_choice, check_flags, check_integer, check_number
from answers.voting import VOTING
from preprocess import OptionError, Selection
from systems.architectures import ARCHITECTURES
from systems.tasks import MOST_SHOWN

MOST_SEGMENTS = 32
# Options, with their defaults, that need probabilities whose sum is 1.
ONE_IS_RIGHT = {
    **{"temperature": None, "label_smoothing": 0.0, "uncertainty": None},
    **{"voting": "mean", "rules": False},
}


@dataclass(frozen=True, kw_only=True)
class GenreOptions(CommonOptions, Selection):
    """What a client may ask of a genre system; the keys of `Selection`, too."""

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
    """Whether the rules for these labels (answers/genre/rule_files/) may change the probabilities."""
    explain: int = 0
    """For so many slices, those most sure of the answer, a map shows what in the picture spoke for it."""
    pictures: int = 0
    """For so many slices, the surest of the answer, the picture that the network saw; `explain` has its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer(self, "top_k", 1)
        check_choice(self, "crop", (None, "first", "middle", "whole"))
        check_number(self, "crop_seconds", 1, 600, "a number of seconds")
        if self.segments is not None:
            check_integer(self, "segments", 1, MOST_SEGMENTS, "null or a whole number")
        check_number(self, "segment_seconds", 1, 120, "a number of seconds")
        check_choice(self, "voting", VOTING)
        check_integer(self, "explain", 0, MOST_SHOWN)
        check_integer(self, "pictures", 0, MOST_SHOWN)
        check_flags(self, "jpeg", "skip_silence", "rules")


def check_profile(options: GenreOptions, profiles: Iterable[str]) -> None:
    """OptionError for a profile that makes no rows for these weights."""
    check_choice(options, "profile", profiles)


def check_activation(options: GenreOptions, manifest: dict) -> None:
    """OptionError for an option that means something only where one class of all is right."""
    if manifest.get("activation", "softmax") == "softmax":
        return
    for name, default in ONE_IS_RIGHT.items():
        if getattr(options, name) != default:
            raise OptionError(
                f"OPTIONS: {name} needs classes of which exactly one is right; those of {manifest['system']} are"
                " independent (sigmoid): leave it out."
            )


def check_explained(options: GenreOptions, manifest: dict) -> None:
    """OptionError where maps are asked for of a kind of network that has none."""
    kind = ARCHITECTURES.get(manifest.get("architecture", ""))
    if options.explain and kind and not kind.explainer:
        raise OptionError(
            f"OPTIONS: explain needs a network of images; {manifest['system']} ({kind.title}) cannot be explained:"
            " leave it out."
        )
