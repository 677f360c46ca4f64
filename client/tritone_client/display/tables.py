"""Answers, systems and health as tables on a terminal, and answers as records for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tritone_client.answer import Answer, Part
from tritone_client.defaults import EMOTION_MODEL, MODEL
from tritone_client.errors import TritoneError
from tritone_client.plain import plain
from tritone_client.systems import Health, Kind, System

DEFAULTS = (MODEL, EMOTION_MODEL)
BAR = 10  # characters of a full probability bar
PARTS = 8  # parts of a timeline that are shown; the others are counted


def marked(text: object) -> str:
    """Return a text for rich, in one line: rich would interpret brackets, and print control characters."""
    return escape(plain(text))


def record(file: str, answer: Answer | TritoneError) -> dict[str, Any]:
    """Return one file's answer as a record for a line of JSON."""
    if isinstance(answer, TritoneError):
        return {"file": file, "error": str(answer), "cause": type(answer).__name__}
    return {"file": file} | answer.to_dict() | {"file": file}  # first, and even if the server sends a `file`


def print_answers(
    console: Console,
    answers: Sequence[tuple[str, Answer | TritoneError]],
    columns: Sequence[str],
    runners_up: int,
) -> None:
    """Print a row per file, with the error of each that failed; then each note once.

    Parameters
    ----------
    console : where to print.
    answers : files, each with its answer or error.
    columns : headings of the label, its probability, the next labels and, optionally, the parts.
    runners_up : maximum number of labels to show after the best.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold", min_width=8)
    table.add_column(columns[0])
    table.add_column(columns[1], no_wrap=True)
    for column in columns[2:]:
        table.add_column(column, style="dim")
    table.add_column("ms", justify="right", no_wrap=True)
    notes: dict[str, None] = {}  # in order, each once
    for file, answer in answers:
        if isinstance(answer, TritoneError):
            table.add_row(marked(file), "[red]failed[/]", "", f"[not dim red]{marked(answer)}[/]")
            continue
        table.add_row(marked(file), *cells(answer, runners_up)[: len(columns)], f"{1000 * answer.seconds:.0f}")
        notes |= dict.fromkeys([*answer.notes, *(f"{file}: {remark}" for remark in answer.remarks)])
    console.print(table)
    for note in notes:
        console.print(f"[yellow]Note:[/] {marked(note)}")


def cells(answer: Answer, runners_up: int) -> list[str]:
    """Return label, bar, next labels and parts of an answer."""
    best = answer.best
    if best is None:
        return ["silence", "", "", ""]
    others = [entry for entry in answer.ranking if entry.label != best.label][:runners_up]
    following = ", ".join(f"{entry.label} {entry.probability:.0%}" for entry in others)
    label = marked(f"{best.label} {best.label_zh}".strip())
    label += " [yellow]review[/]" if answer.needs_review else ""
    return [label, bar(best.probability), marked(following), marked(summary(answer))]


def summary(answer: Answer) -> str:
    """Return the share of slices that have the most frequent label, or the segments of a timeline."""
    if answer.vote is None:
        return timeline(answer.parts)
    vote = f"{answer.vote.share:.0%} of {len(answer.parts)}"
    return vote if answer.best and answer.vote.label == answer.best.label else f"{vote}: {answer.vote.label}"


def timeline(parts: Sequence[Part]) -> str:
    """Return `neutral 0.0–1.8, happy 1.8–4.2` for two parts; at most `PARTS` of them."""
    shown = [f"{part.label} {part.start:.1f}–{part.end:.1f}" for part in parts[:PARTS]]
    hidden = len(parts) - len(shown)
    return ", ".join(shown) + (f" and {hidden} more" if hidden else "")


def bar(share: float) -> str:
    """Return a share from 0 to 1 as a bar and in percent."""
    filled = round(BAR * share)
    return f"[green]{'━' * filled}[/][dim]{'─' * (BAR - filled)}[/] {share:4.0%}"


def print_systems(console: Console, systems: Sequence[System], kinds: Mapping[str, Kind]) -> None:
    """Print a row per served system; the command that asks it is starred if it does so by default."""
    if not systems:
        console.print("The server has no Tritone systems.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("system", no_wrap=True)
    for column in ("state", "version", "platform", "command"):
        table.add_column(column)
    table.add_column("labels", justify="right")
    for system in systems:
        state = "[green]ready[/]" if system.ready else "[red]not ready[/]"
        kind = kinds.get(system.name)
        command = f"{kind.method}{'*' * (system.name in DEFAULTS)}" if kind else ""
        labels = str(kind.labels or "") if kind else ""
        table.add_row(marked(system.name), state, marked(system.version), marked(system.platform), command, labels)
    console.print(table)
    console.print("* The command asks this system by default.", style="dim")


def print_health(console: Console, health: Health, url: str) -> None:
    """Print a line for the server and one per system."""
    lines = {f"server {url}": health.ready} | {f"system {name}": ready for name, ready in health.systems.items()}
    for name, ready in lines.items():
        console.print(f"{'[green]ready[/]    ' if ready else '[red]not ready[/]'}  {marked(name)}")
