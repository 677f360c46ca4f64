"""What is accepted: checked before decoding where a header declares it, and counted while decoding."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields

from preprocess.errors import BeyondLimit

# Encoders round up to whole frames: ten minutes of Opus last 600.0065 s, of AAC 600.05 s. They are ten minutes.
ROUNDING = 0.095  # seconds; what is refused differs from the limit in the first decimal
# CPU seconds allowed for each second of sound, beside `max_cpu_seconds`: five times what Opus in stereo takes.
CPU_PER_SECOND = 0.02


@dataclass(frozen=True)
class Limits:
    """The largest recording that is accepted. Every refusal names the limit by its field."""

    max_bytes: int = 64 << 20
    """Size of the encoded file, or of samples sent raw."""
    max_seconds: float = 3600.0
    """Length of the recording; an hour of mono float32 at 22 050 Hz is 317 MB."""
    max_channels: int = 8
    """7.1 surround."""
    min_sr: int = 4000
    """Hz."""
    max_sr: int = 192_000
    """Hz."""
    max_samples: int = 1 << 30
    """Decoded samples of all channels: an hour of 5.1 at 48 kHz has 1.04e9."""
    max_cpu_seconds: float = 5.0
    """CPU time for decoding and resampling, beside 20 ms for each second of sound."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) > 0:
                raise ValueError(f"{limit.name} must be above zero, not {getattr(self, limit.name)}")

    def check_bytes(self, size: int) -> None:
        """Raise BeyondLimit for a file, or raw samples, of more than `max_bytes`."""
        if size > self.max_bytes:
            raise BeyondLimit(
                f"The recording has {size} bytes, the limit is {self.max_bytes} (max_bytes);"
                " compress it or send a part of it."
            )

    def check_format(self, channels: int, sr: int) -> None:
        """Raise BeyondLimit for a number of channels or a rate (Hz) that is not accepted."""
        if not 1 <= channels <= self.max_channels:
            raise BeyondLimit(
                f"The recording has {channels} channels, the limit is {self.max_channels} (max_channels);"
                " send a stereo or mono mix."
            )
        if not self.min_sr <= sr <= self.max_sr:
            raise BeyondLimit(
                f"The recording's sample rate is {sr} Hz, the limits are {self.min_sr} and {self.max_sr} Hz"
                " (min_sr, max_sr); resample it first."
            )

    def check_seconds(self, seconds: float, at_least: bool = False) -> None:
        """Raise BeyondLimit for a length beyond `max_seconds`, of which `at_least` so much was decoded."""
        if seconds > self.max_seconds + ROUNDING:
            length = f"more than {self.max_seconds:g} s" if at_least else f"{seconds:.1f} s"
            raise BeyondLimit(
                f"The recording lasts {length}, the limit is {self.max_seconds:g} s (max_seconds);"
                " send a shorter part."
            )


class Meter:
    """Counts what one recording has cost so far, and ends it at a limit.

    Attributes
    ----------
    seconds : of sound that were counted
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._start = time.thread_time()
        self._samples = 0
        self.seconds = 0.0

    def count(self, frames: int, channels: int, sr: int) -> None:
        """Add a decoded block; raise BeyondLimit where a limit is passed."""
        self._samples += frames * channels
        self.seconds += frames / sr
        self._limits.check_seconds(self.seconds, at_least=True)
        if self._samples > self._limits.max_samples:
            raise BeyondLimit(
                f"The recording has more than {self._limits.max_samples} samples over all channels (max_samples);"
                " send a shorter part, fewer channels or a lower sample rate."
            )
        self.check_time()

    def check_time(self) -> None:
        """Raise BeyondLimit where the CPU time is used up."""
        allowed = self._limits.max_cpu_seconds + CPU_PER_SECOND * self.seconds
        if time.thread_time() - self._start > allowed:
            raise BeyondLimit(
                f"The recording took more than {allowed:.3g} s of CPU time to decode {self.seconds:.3g} s of sound"
                " (max_cpu_seconds); encode it again in a common format."
            )

    def mark(self) -> tuple[float, int]:
        """What was counted so far, for `rewind`."""
        return self.seconds, self._samples

    def rewind(self, mark: tuple[float, int]) -> None:
        """Go back to a mark, because another reader begins there again; the time spent stays spent."""
        self.seconds, self._samples = mark
