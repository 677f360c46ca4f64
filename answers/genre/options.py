"""OPTIONS of a genre system, and checks that they suit the weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from answers.options import CommonOptions, check_choice, check_flags, check_integer, check_number
from answers.voting import VOTING
from preprocess import OptionError, Selection
from systems.architectures import ARCHITECTURES
from systems.tasks import MOST_SHOWN

MAX_SEGMENTS = 32
# Options that need exclusive classes, whose probabilities add up to 1, with their defaults.
NEED_EXCLUSIVE = {
    **{"temperature": None, "label_smoothing": 0.0, "uncertainty": None},
    **{"voting": "mean", "rules": False},
}


@dataclass(frozen=True, kw_only=True)
class GenreOptions(CommonOptions, Selection):
    """Options of a genre system; the fields of `Selection` are keys, too.

    Attributes
    ----------
    profile : how to prepare the recording; the default is the profile that the weights expect
    top_k : number of classes that the answer ranks
    jpeg : profile `ccmusic`: whether to apply the JPEG round trip of the training images
    voting : how to combine the slices into one answer, a key of `VOTING`
    rules : whether the rules for these labels (answers/genre/rule_files/) may change the probabilities
    explain : number of slices, those most certain of the answer, to return with a map of the evidence for it
    pictures : number of slices, those most certain of the answer, to return as the network's input image; those of
        `explain` always come with theirs
    """

    example: ClassVar[str] = '{"top_k": 3}'

    profile: str
    top_k: int = 5
    jpeg: bool = True
    voting: str = "mean"
    rules: bool = False
    explain: int = 0
    pictures: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer(self, "top_k", 1)
        check_choice(self, "crop", (None, "first", "middle", "whole"))
        check_number(self, "crop_seconds", 1, 600, "a number of seconds")
        if self.segments is not None:
            check_integer(self, "segments", 1, MAX_SEGMENTS, "null or a whole number")
        check_number(self, "segment_seconds", 1, 120, "a number of seconds")
        check_choice(self, "voting", VOTING)
        check_integer(self, "explain", 0, MOST_SHOWN)
        check_integer(self, "pictures", 0, MOST_SHOWN)
        check_flags(self, "jpeg", "skip_silence", "rules")


def check_profile(options: GenreOptions, profiles: Iterable[str]) -> None:
    """Raise OptionError if the profile does not make rows for these weights."""
    check_choice(options, "profile", profiles)


def check_activation(options: GenreOptions, manifest: dict) -> None:
    """Raise OptionError if an option needs exclusive classes and those of the weights are independent."""
    if manifest.get("activation", "softmax") == "softmax":
        return
    for name, default in NEED_EXCLUSIVE.items():
        if getattr(options, name) != default:
            raise OptionError(
                f"OPTIONS: {name} needs classes of which exactly one is right; those of {manifest['system']} are"
                " independent (sigmoid): leave it out."
            )


def check_explained(options: GenreOptions, manifest: dict) -> None:
    """Raise OptionError if an explanation is requested from a kind of network that has none."""
    kind = ARCHITECTURES.get(manifest.get("architecture", ""))
    if options.explain and kind and not kind.explainer:
        raise OptionError(
            f"OPTIONS: explain needs a network of images; {manifest['system']} ({kind.title}) cannot be explained:"
            " leave it out."
        )
