"""The line on standard error while an answer is awaited, such as `⠙ 3 of 40, song.mp3: 3.4 s`."""

import os
import shutil
import sys
import time

from tritone_client.plain import plain

FIRST_SECONDS = 0.5  # without a line
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Waiting:
    """Draws that line for one of `total` files after another, if standard error is a terminal."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.since = time.monotonic()
        self.is_drawn = False

    def tick(self, file: str) -> None:
        """Draw the line, if the answer for `file` is awaited for long enough; called again and again."""
        seconds = time.monotonic() - self.since
        if not self.is_terminal or seconds < FIRST_SECONDS:
            return
        from rich.cells import set_cell_size

        count = f"{self.done + 1} of {self.total}, " if self.total > 1 else ""
        frame = FRAMES[int(10 * seconds) % len(FRAMES)]
        end = f": {seconds:.1f} s"
        room = shutil.get_terminal_size().columns - 1 - len(end)
        text = set_cell_size(plain(f"{frame} {count}{os.path.basename(file) or file}"), room).rstrip()
        sys.stderr.write(f"\r{text}{end}\x1b[K")
        sys.stderr.flush()
        self.is_drawn = True

    def answered(self) -> None:
        """Erase the line, because the answer is there; the next one is awaited from now on."""
        self.erase()
        self.done += 1
        self.since = time.monotonic()

    def erase(self) -> None:
        """Erase the line, if it is drawn."""
        if self.is_drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self.is_drawn = False
