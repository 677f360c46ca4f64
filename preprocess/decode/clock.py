"""Places frames on the recording's time axis.

The time stamps of a stream are rounded and need not begin at 0. They reveal missing packets, which the decoded
frames alone do not.
"""

from __future__ import annotations

GAP = 0.015  # seconds, the shortest gap: speech codecs have packets of 20 ms or more
JITTER = 0.002  # seconds from frame to frame: WebM and ASF round time stamps to milliseconds
BACK = 1.0  # seconds; time stamps that go back further belong to another clock


class Clock:
    """Compares time stamps with the decoded length.

    Parameters
    ----------
    longest : seconds; a gap that makes the recording longer than this means that the clock was reset
    origin : time stamp of the recording's beginning; None: the first one

    Attributes
    ----------
    position : seconds decoded or filled so far
    """

    def __init__(self, longest: float, origin: float | None = None) -> None:
        self.position = 0.0
        self._longest = longest
        self._origin = origin
        self._expected = origin or 0.0  # time stamp at the end of the last frame
        self._stamped = 0.0  # the latest end of any packet
        self._lost = 0.0  # the latest end of a packet that failed to decode
        self._gaps, self._filled, self._jumped = 0, 0.0, 0.0

    def place(self, start: float | None, seconds: float, following: float | None = None) -> float:
        """Place a frame with the time stamp `start`, and return the seconds of silence to insert before it.

        If the `following` frame's time stamp goes back, this frame's time stamp is wrong and is ignored.
        """
        silence = 0.0
        if start is not None:
            if self._origin is None:
                self._origin = start - self.position
            elif start - self._expected > JITTER and (following is None or following > start):
                silence = self._gap(start)
            elif start - self._expected < -BACK:
                self._origin = start - self.position
            self._expected = start + seconds
        self.position += silence + seconds
        return silence

    def pass_over(self, end: float | None) -> None:
        """Register the end of a packet that is not decoded."""
        if end is not None:
            self._stamped = max(self._stamped, end)

    def lose(self, end: float | None) -> None:
        """Register the end of a packet that failed to decode."""
        self._lost = max(self._lost, end or 0.0)

    def tail(self) -> float:
        """Return the seconds of silence after the last frame, for packets that failed to decode."""
        silence = self._gap(self._lost) if self._origin is not None else 0.0
        self.position += silence
        return silence

    def length(self) -> float:
        """Return the seconds up to the end of the last packet."""
        return max(self.position, self._stamped - (self._origin or 0.0))

    def notes(self) -> tuple[str, ...]:
        """Describe filled gaps and jumps of the clock."""
        notes: tuple[str, ...] = ()
        if self._gaps:
            gaps = "a gap" if self._gaps == 1 else f"{self._gaps} gaps"
            notes += (
                f"Silence fills {gaps} of {self._filled:.2f} s where packets are missing or cannot be decoded.",
            )
        if self._jumped:
            notes += (f"The time stamps jump by {self._jumped:.0f} s; the sound before and after was joined.",)
        return notes

    def _gap(self, start: float) -> float:
        silence = start - (self._origin or 0.0) - self.position
        if silence < GAP:
            return 0.0
        if self.position + silence > self._longest:
            self._jumped, self._origin = silence, start - self.position
            return 0.0
        self._gaps += 1
        self._filled += silence
        return silence
