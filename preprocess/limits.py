"""Limits of accepted recordings: checked before decoding if a header declares the value, and while decoding."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields

from preprocess.errors import BeyondLimit

# Seconds. Encoders round up to complete frames: ten minutes of Opus last 600.0065 s, of AAC 600.05 s, and must
# count as ten minutes. A rejected length differs from the limit in the first decimal.
ROUNDING = 0.095
# CPU seconds allowed per second of sound, beside `max_cpu_seconds`: five times what stereo Opus takes.
CPU_PER_SECOND = 0.02


@dataclass(frozen=True)
class Limits:
    """The limits of accepted recordings. Every error names the limit by its field.

    Attributes
    ----------
    max_bytes : size of the encoded file, or of raw samples
    max_seconds : length of the recording; an hour of mono float32 at 22 050 Hz is 317 MB
    max_channels : 8 is 7.1 surround
    min_sr, max_sr : sample rate, Hz
    max_samples : decoded samples of all channels; an hour of 5.1 at 48 kHz has 1.04e9
    max_cpu_seconds : CPU time for decoding and resampling, beside 20 ms per second of sound
    """

    max_bytes: int = 64 << 20
    max_seconds: float = 3600.0
    max_channels: int = 8
    min_sr: int = 4000
    max_sr: int = 192_000
    max_samples: int = 1 << 30
    max_cpu_seconds: float = 5.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) > 0:
                raise ValueError(f"{limit.name} must be above zero, not {getattr(self, limit.name)}")

    def check_bytes(self, size: int) -> None:
        """Raise BeyondLimit if a file, or raw samples, has more than `max_bytes`."""
        if size > self.max_bytes:
            raise BeyondLimit(
                f"The recording has {size} bytes, the limit is {self.max_bytes} (max_bytes);"
                " compress it or send a part of it."
            )

    def check_format(self, channels: int, sr: int) -> None:
        """Raise BeyondLimit if the number of channels or the sample rate (Hz) is out of range."""
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
        """Raise BeyondLimit if a length exceeds `max_seconds`; `at_least`: decoding has only come so far."""
        if seconds > self.max_seconds + ROUNDING:
            length = f"more than {self.max_seconds:g} s" if at_least else f"{seconds:.1f} s"
            raise BeyondLimit(
                f"The recording lasts {length}, the limit is {self.max_seconds:g} s (max_seconds);"
                " send a shorter part."
            )


class Meter:
    """Counts the cost of one recording and stops it at a limit.

    Attributes
    ----------
    seconds : of sound counted so far
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._start = time.thread_time()
        self._samples = 0
        self.seconds = 0.0

    def count(self, frames: int, channels: int, sr: int) -> None:
        """Add a decoded block; raise BeyondLimit if a limit is exceeded."""
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
        """Raise BeyondLimit if the CPU time is used up."""
        allowed = self._limits.max_cpu_seconds + CPU_PER_SECOND * self.seconds
        if time.thread_time() - self._start > allowed:
            raise BeyondLimit(
                f"The recording took more than {allowed:.3g} s of CPU time to decode {self.seconds:.3g} s of sound"
                " (max_cpu_seconds); encode it again in a common format."
            )

    def mark(self) -> tuple[float, int]:
        """Return the current counts, for `rewind`."""
        return self.seconds, self._samples

    def rewind(self, mark: tuple[float, int]) -> None:
        """Restore the counts of a mark, for another reader that starts there; CPU time is not restored."""
        self.seconds, self._samples = mark
