"""The progress of a bulk run on standard error: a bar on a terminal, otherwise a line every 30 s."""

import os
import sys
import threading
import time
from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from tritone_client.bulk.engine import Bulk
from tritone_client.bulk.results import Results
from tritone_client.bulk.sources import Skipped, count_files
from tritone_client.errors import TritoneError
from tritone_client.plain import plain

EVERY = 30.0  # seconds between two lines without a terminal
SHOWN = 5  # notes in the summary


class ProgressDisplay:
    """Shows the progress of a run; a context manager."""

    def __init__(self, source: str, out: str) -> None:
        self._source, self._out = source, out
        self._total: int | None = None
        self._skipped = ""  # reported early in a run; the summary reports it at the end
        self._line_at = time.monotonic() + EVERY
        console = Console(stderr=True)
        columns = (BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"))
        # Redrawn only by `refresh`: rich's own thread would cost more than everything else here.
        self._bar = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self._task = self._bar.add_task("", total=None, pace="") if console.is_terminal else None

    def __enter__(self) -> "ProgressDisplay":
        threading.Thread(target=self._count, daemon=True).start()
        if self._task is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._bar.stop()

    def refresh(self, bulk: Bulk) -> None:
        """Show the current state."""
        if self._skipped and self._total is not None and bulk.done < self._total:
            self.report(self._skipped)
            self._skipped = ""
        if self._task is not None:
            self._bar.update(self._task, completed=bulk.done, total=self._total, pace=pace(bulk, self._total))
            with suppress(OSError):
                self._bar.refresh()
        elif time.monotonic() >= self._line_at:
            self._line_at = time.monotonic() + EVERY
            of = "" if self._total is None else f" of {self._total}"
            self.report(f"{bulk.done}{of} files: {pace(bulk, self._total)}")

    def report(self, sentence: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._task is not None:
            with suppress(OSError):
                self._bar.console.print(plain(sentence), markup=False, highlight=False, soft_wrap=True)
        else:
            print_lines(sentence)

    def _count(self) -> None:
        with suppress(TritoneError):  # the run itself reports it
            skipped = Skipped(self._out)
            self._total = count_files(self._source, skipped)
            self._skipped = skipped.sentence


def print_lines(*lines: str) -> None:
    """Print lines on standard error; hours of work do not end because that is closed."""
    with suppress(OSError, ValueError, AttributeError):  # a full disk or closed pipe; closed; no standard error
        print(*map(plain, lines), sep="\n", file=sys.stderr, flush=True)


def pace(bulk: Bulk, total: int | None) -> str:
    """Return `31.2/s, 1 h 46 min left, 12 failed`, as far as these are known."""
    if bulk.waiting:
        return "waiting for the server"
    parts = [per_second(bulk.rate)]
    if total is not None and bulk.rate:
        parts.append(f"{duration(max(total - bulk.done, 0) / bulk.rate)} left")
    if bulk.failed:
        parts.append(f"{bulk.failed} failed")
    return ", ".join(parts)


def per_second(rate: float) -> str:
    """Return `1250/s`, `31.2/s` or `0.12/s`."""
    return f"{rate:.0f}/s" if rate >= 100 else f"{rate:.3g}/s"


def duration(seconds: float) -> str:
    """Return seconds as `12.3 s`, `4 min 10 s` or `1 h 46 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def summary(bulk: Bulk, results: Results, skipped: Skipped) -> list[str]:
    """Return the lines that report a finished run, the most important one last."""
    lines = [f"Note ({times} files): {note}" for note, times in bulk.notes.most_common(SHOWN)]
    if skipped.sentence:
        lines.append(skipped.sentence)
    if results.causes:
        causes = ", ".join(f"{times} {cause}" for cause, times in results.causes.most_common())
        lines.append(f"Failed rows: {causes}. Use --retry-failed to send these files again.")
    review = f" ({bulk.for_review} for review)" if bulk.for_review else ""
    before = results.rows - bulk.asked
    lines.append(
        f"{bulk.asked} files in {duration(bulk.seconds)} ({per_second(bulk.asked / bulk.seconds)}): "
        f"{bulk.asked - bulk.failed} answered{review}, {bulk.failed} failed; {os.fspath(results.out)}"
        + (f" ({results.rows} rows, {before} of them from earlier runs)" if before else "")
    )
    return lines
