"""INFO of a genre system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from answers.genre.options import GenreOptions
from answers.info import Info, checked, is_count, is_list_of, is_number, is_object_of, milliseconds, or_none
from preprocess import Prepared


@dataclass(frozen=True, kw_only=True)
class GenreInfo(Info[GenreOptions]):
    """Metadata of a recording from the preprocess step.

    Attributes
    ----------
    slices : (start, end) of each row in seconds
    slices_total : number of slices in the recording
    seconds_used : seconds of the recording that reached the network
    heard : (start, end) of the parts that options selected; None: the profile decided
    features : features that rules look at
    """

    slices: Sequence[Sequence[float]] = checked(is_list_of(is_list_of(is_number, 2)), "a list of [start, end]")
    slices_total: int = checked(is_count, "a whole number")
    seconds_used: float = checked(is_number, "a number of seconds")
    heard: Sequence[Sequence[float]] | None = checked(
        or_none(is_list_of(is_list_of(is_number, 2))), "null or a list of [start, end]"
    )
    features: dict[str, float] | None = checked(or_none(is_object_of(is_number)), "an object of numbers")

    @classmethod
    def of(cls, prepared: Prepared, options: GenreOptions, sha256: str | None = None) -> GenreInfo:
        """Make INFO of a recording that was prepared with these options."""
        excerpts = prepared.excerpts and [[round(t, 3) for t in times] for times in prepared.excerpts]
        return cls(
            options=options,
            slices=prepared.slices,
            slices_total=prepared.slices_total,
            duration=prepared.duration,
            seconds_used=prepared.seconds_used,
            notes=[*prepared.notes],
            milliseconds=milliseconds(prepared.seconds),
            heard=excerpts,
            cleaned=prepared.enhanced,
            features=prepared.features,
            sha256=sha256,
        )
