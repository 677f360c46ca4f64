"""Where a frame belongs on the recording's time axis.

The time stamps of a stream need not begin at 0, and are rounded. They show what joined frames do not: that packets
are missing in between.
"""

from __future__ import annotations

GAP = 0.015  # seconds; the shortest packet of speech codecs is 20 ms
JITTER = 0.002  # seconds from frame to frame: time stamps of WebM and ASF are whole milliseconds
BACK = 1.0  # seconds; time stamps that go back by more belong to another clock


class Clock:
    """Compares time stamps with what was decoded.

    Parameters
    ----------
    longest : seconds; a gap that would make the recording longer is a clock that was set anew
    origin : time stamp at which the recording begins; None: the first one

    Attributes
    ----------
    position : seconds that were decoded or filled
    """

    def __init__(self, longest: float, origin: float | None = None) -> None:
        self.position = 0.0
        self._longest = longest
        self._origin = origin
        self._expected = origin or 0.0  # time stamp at which the last frame ended
        self._stamped = 0.0  # the latest end of any packet
        self._lost = 0.0  # the latest end of a packet that did not decode
        self._gaps, self._filled, self._jumped = 0, 0.0, 0.0

    def place(self, start: float | None, seconds: float, following: float | None = None) -> float:
        """Take a frame that begins at a time stamp, and return the seconds of silence that belong before it.

        Where the `following` frame's time stamp goes back, this one's is wrong.
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
        """Take the end of a packet that is not decoded."""
        if end is not None:
            self._stamped = max(self._stamped, end)

    def lose(self, end: float | None) -> None:
        """Take the end of a packet that could not be decoded."""
        self._lost = max(self._lost, end or 0.0)

    def tail(self) -> float:
        """Seconds of silence behind the last frame: packets that could not be decoded."""
        silence = self._gap(self._lost) if self._origin is not None else 0.0
        self.position += silence
        return silence

    def length(self) -> float:
        """Seconds up to the end of the last packet."""
        return max(self.position, self._stamped - (self._origin or 0.0))

    def notes(self) -> tuple[str, ...]:
        """What was filled, and where the clock jumped."""
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
