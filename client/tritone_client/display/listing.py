"""Answers printed one by one as they arrive: aligned on a terminal, TSV in a pipe, errors on standard error.

On a terminal the widths of the columns are fixed before the first answer, from the names of the files. What does
not fit, and what the options ask for (uncertainty, agreement, timings), is on an indented line below the row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from tritone_client.answer import Answer, Part
from tritone_client.display.tables import marked
from tritone_client.errors import TritoneError
from tritone_client.plain import formatted, plain

BAR = 10  # characters of a full probability bar
PARTS = 8  # parts of a timeline that a terminal shows; the others are counted
WIDE = 120  # columns from which on bars and the next labels are in the row itself
LABEL, SLICES, MS = 22, 10, 6  # widths of these columns; on a narrow terminal, LABEL is the most


class Listing:
    """Prints each answer when it is added, and each note once at the end.

    Parameters
    ----------
    console : where the rows go; TSV if it is not a terminal.
    files : the names of all files.
    columns : headings of the label, its probability and the next labels; the fourth, for the parts, is optional.
    runners_up : maximum number of labels to show after the best.
    """

    def __init__(self, console: Console, files: Iterable[str], columns: Sequence[str], runners_up: int) -> None:
        self.console, self.columns, self.runners_up = console, columns, runners_up
        self.notes: dict[str, None] = {}  # in order, each once
        self.wide = console.width >= WIDE
        self.slices = "slices" in columns
        self.label_width = LABEL if self.wide else max(10, min(LABEL, console.width // 4))
        self.share_width = BAR + 5 if self.wide else 4
        others = self.label_width + self.share_width + MS + 2 * 3 + (SLICES + 2) * self.slices
        room = console.width - others - (28 if self.wide else 0)  # 28: the least for the next labels
        self.file_width = max(4, min(room, max((cell_len(plain(file)) for file in files), default=4)))
        self.is_first = True

    def add(self, file: str, answer: Answer | TritoneError) -> None:
        """Print the row of one file, or its error."""
        if isinstance(answer, TritoneError):
            sentence = plain(answer)
            text = sentence if plain(file) in sentence else f"{plain(file)}: {sentence}"
            print(f"tritone: {text}", file=sys.stderr, flush=True)
            return
        self.notes |= dict.fromkeys([*answer.notes, *(f"{file}: {remark}" for remark in answer.remarks)])
        if self.console.is_terminal:
            self.print_row(file, answer)
        else:
            self.console.file.write("\t".join(map(plain, values(file, answer, self.runners_up))) + "\n")
            self.console.file.flush()

    def print_row(self, file: str, answer: Answer) -> None:
        """Print one row on a terminal, and the line below it if there is anything to say."""
        if self.is_first:
            headings = [self.columns[0], self.columns[1] if self.wide else ""]
            self.print_cells("file", headings, self.columns[2], self.columns[-1], "ms", "bold")
            self.is_first = False
        best = answer.best
        if best is None:
            label, share = "silence", ""
        else:
            label = marked(f"{best.label} {best.label_zh}".strip())
            label += " [yellow]review[/]" if answer.needs_review else ""
            share = bar(best.probability) if self.wide else f"{best.probability:4.0%}"
        following, parts = marked(next_labels(answer, self.runners_up)), marked(parts_of(answer, PARTS))
        name = marked(file)
        if cell_len(plain(file)) > self.file_width:
            self.console.print(name, overflow="fold")
            name = ""
        self.print_cells(name, [label, share], following, parts, f"{1000 * answer.seconds:.0f}")
        below = details(answer)
        if not self.wide:
            timeline = "" if self.slices or len(self.columns) < 4 else plain(parts_of(answer, PARTS))
            below = [text for text in (next_labels(answer, self.runners_up), timeline) if text] + below
        if below:
            self.console.print(Padding(marked("; ".join(below)), (0, 0, 0, 2), expand=False), style="dim")

    def print_cells(
        self, file: str, cells: Sequence[str], following: str, parts: str, ms: str, style: str = ""
    ) -> None:
        """Print the cells of one row, all with fixed widths, so that all rows are aligned."""
        table = Table(box=None, pad_edge=False, show_header=False, expand=self.wide, style=style)
        table.add_column(width=self.file_width, no_wrap=True)
        table.add_column(width=self.label_width)
        table.add_column(width=self.share_width, no_wrap=True)
        row = [file, *cells]
        if self.wide:
            table.add_column(ratio=1, style=style or "dim")
            row.append(following)
        if len(self.columns) > 3 and (self.slices or self.wide):
            width, ratio = (SLICES, None) if self.slices else (None, 1)
            table.add_column(width=width, ratio=ratio, style=style or "dim")
            row.append(parts)
        table.add_column(width=MS, justify="right", no_wrap=True)
        table.add_row(*row, ms)
        self.console.print(table)

    def end(self) -> None:
        """Print the notes: below the rows on a terminal, else on standard error."""
        console = self.console if self.console.is_terminal else Console(stderr=True, soft_wrap=True)
        for note in self.notes:
            console.print(f"[yellow]Note:[/] {marked(note)}", highlight=False)


def values(file: str, answer: Answer, runners_up: int) -> list[str]:
    """Return the fields of a line of TSV, which docs/client.md lists; empty where an answer has none."""
    best = answer.best
    return [
        file,
        best.label if best else "silence",
        f"{best.probability:.4f}" if best else "",
        next_labels(answer, runners_up),
        parts_of(answer, None),
        doubt(answer),
        {None: "", True: "review", False: "ok"}[answer.needs_review],
        "" if answer.agreement is None else f"{answer.agreement:.4f}",
        f"{1000 * answer.seconds:.0f}",
    ]


def next_labels(answer: Answer, runners_up: int) -> str:
    """Return `Solo 25%, Symphony 12%`, the labels after the best one."""
    best = answer.best.label if answer.best else None
    others = [entry for entry in answer.ranking if entry.label != best][:runners_up]
    return ", ".join(f"{entry.label} {entry.probability:.0%}" for entry in others)


def parts_of(answer: Answer, most: int | None) -> str:
    """Return how many slices have the most frequent label, or at most `most` segments of a timeline."""
    if answer.vote is None:
        return timeline(answer.parts, most)
    count = len(answer.parts)
    vote = f"{round(answer.vote.share * count)} of {count}"
    return vote if answer.best and answer.vote.label == answer.best.label else f"{vote}: {answer.vote.label}"


def timeline(parts: Sequence[Part], most: int | None) -> str:
    """Return `neutral 0.0–1.8, happy 1.8–4.2` for two parts; at most `most` of them."""
    shown = [f"{part.label} {part.start:.1f}–{part.end:.1f}" for part in parts[:most]]
    hidden = len(parts) - len(shown)
    return ", ".join(shown) + (f" and {hidden} more" if hidden else "")


def bar(share: float) -> str:
    """Return a share from 0 to 1 as a bar and in percent."""
    filled = round(BAR * share)
    return f"[green]{'━' * filled}[/][dim]{'─' * (BAR - filled)}[/] {share:4.0%}"


def details(answer: Answer) -> list[str]:
    """Return what the options ask for in addition: uncertainty, agreement, timings, images."""
    found = []
    if measures := doubt(answer):
        meaning = ", 1 minus the lead of the best label" if measures.startswith("margin") else ""
        found.append(f"uncertainty: {measures} (0 is certain{meaning})")
    if answer.agreement is not None:
        found.append(f"{answer.agreement:.0%} of the slices agree")
    if isinstance(timings := answer.raw.get("timings"), dict):
        found.append("timings: " + ", ".join(f"{name} {formatted(ms, '.1f')} ms" for name, ms in timings.items()))
    if answer.images:
        found.append("notebooks and the web page show the images")
    return found


def doubt(answer: Answer) -> str:
    """Return `entropy 0.74 > 0.70` for the measure that decides about review, or all measures."""
    review = answer.raw.get("review")
    by = review.get("by") if isinstance(review, dict) else None
    if isinstance(by, str) and by in answer.uncertainty and answer.needs_review is not None:
        sign = ">" if answer.needs_review else "≤"
        return (
            f"{by} {answer.uncertainty[by]:.2f} {sign} {formatted(answer.raw['review'].get('threshold'), '.2f')}"
        )
    return ", ".join(f"{name} {value:.2f}" for name, value in answer.uncertainty.items())
