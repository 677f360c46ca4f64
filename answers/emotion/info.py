"""INFO of a speech emotion system."""

from __future__ import annotations

from dataclasses import dataclass

from answers.emotion.options import EmotionOptions
from answers.info import Info, checked, is_count, is_list_of, milliseconds
from preprocess import PreparedSpeech


@dataclass(frozen=True, kw_only=True)
class EmotionInfo(Info[EmotionOptions]):
    """Metadata of a recording from the preprocess step.

    Attributes
    ----------
    windows : (first, start, stop) of each row in frames of the recording
    silent : whether the recording is silent
    """

    windows: list[tuple[int, int, int]] = checked(
        is_list_of(is_list_of(is_count, 3)), "a list of [first, start, stop] in frames"
    )
    silent: bool = checked(lambda value: isinstance(value, bool), "true or false")

    @classmethod
    def of(cls, prepared: PreparedSpeech, options: EmotionOptions, sha256: str | None = None) -> EmotionInfo:
        """Make INFO of a recording that was prepared with these options."""
        return cls(
            options=options,
            windows=[(window.first, window.start, window.stop) for window in prepared.windows],
            duration=prepared.duration,
            silent=prepared.silent,
            notes=[*prepared.notes],
            milliseconds=milliseconds(prepared.seconds),
            cleaned=prepared.enhanced,
            sha256=sha256,
        )
