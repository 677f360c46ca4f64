"""OPTIONS of a speech emotion system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from answers.options import CommonOptions, check_flags, check_number

# That a timeline may be smoothed over, or its shortest segment last.
MOST_SECONDS = 10.0


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
            check_number(self, name, 0, MOST_SECONDS, "a number of seconds")
        check_flags(self, "frame_embeddings")
