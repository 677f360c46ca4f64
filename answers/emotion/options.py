"""OPTIONS of a speech emotion system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from answers.options import CommonOptions, check_flags, check_number

# Maximum of the options `smoothing` and `min_segment`.
MAX_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class EmotionOptions(CommonOptions):
    """Options of a speech emotion system.

    Attributes
    ----------
    smoothing : seconds of the moving average over the timeline; 0: off
    min_segment : minimum seconds of a segment of the timeline
    frame_embeddings : whether FRAME_EMBEDDINGS has a row for every 20 ms (4 KiB each), and not only the mean
    """

    example: ClassVar[str] = '{"smoothing": 1.0}'

    smoothing: float = 0.5
    min_segment: float = 0.5
    frame_embeddings: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("smoothing", "min_segment"):
            check_number(self, name, 0, MAX_SECONDS, "a number of seconds")
        check_flags(self, "frame_embeddings")
