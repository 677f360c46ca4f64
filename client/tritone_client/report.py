"""Predictions, systems and health as tables for people and records for programs."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tritone_client.client import Health, System
from tritone_client.errors import TritoneError
from tritone_client.prediction import Prediction

Answers = Sequence[tuple[str, Prediction | TritoneError]]

BAR = 10  # characters of a full probability bar


def record(file: str, answer: Prediction | TritoneError) -> dict[str, Any]:
    """One file's answer for a line of JSON."""
    if isinstance(answer, TritoneError):
        return {"file": file, "error": str(answer), "cause": type(answer).__name__}
    return {"file": file, **answer.to_dict()}


def print_predictions(console: Console, answers: Answers) -> None:
    """A row per file, a failed one with its sentence, then each note once."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold", min_width=8)
    table.add_column("label")
    table.add_column("probability", no_wrap=True)
    table.add_column("next", style="dim")
    table.add_column("slices", style="dim")
    table.add_column("ms", justify="right", no_wrap=True)
    notes: dict[str, None] = {}  # in order, each once
    for file, answer in answers:
        if isinstance(answer, TritoneError):
            table.add_row(escape(file), "[red]failed[/]", "", f"[not dim red]{escape(str(answer))}[/]")
        else:
            table.add_row(escape(file), *cells(answer), f"{1000 * answer.seconds:.0f}")
            notes |= dict.fromkeys(answer.notes)
    console.print(table)
    for note in notes:
        console.print(f"[yellow]Note:[/] {escape(note)}")


def cells(prediction: Prediction) -> list[str]:
    """Label, bar, runners-up and vote of one prediction."""
    best = prediction.top[0]
    runners_up = ", ".join(f"{entry.label} {entry.probability:.0%}" for entry in prediction.top[1:])
    vote = f"{prediction.vote.share:.0%} of {len(prediction.slices)}"
    if prediction.vote.label != prediction.label:
        vote += f": {prediction.vote.label}"
    filled = round(BAR * best.probability)
    bar = f"[green]{'━' * filled}[/][dim]{'─' * (BAR - filled)}[/] {best.probability:4.0%}"
    return [escape(f"{best.label} {best.label_zh}".strip()), bar, escape(runners_up), escape(vote)]


def print_systems(console: Console, systems: Sequence[System]) -> None:
    """A row per served system."""
    if not systems:
        console.print("The server has no systems of Tritone.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("system", "state", "version", "platform"):
        table.add_column(column)
    for system in systems:
        state = "[green]ready[/]" if system.ready else "[red]not ready[/]"
        table.add_row(system.name, state, system.version, system.platform)
    console.print(table)


def print_health(console: Console, health: Health, url: str) -> None:
    """A line for the server and one per system."""
    lines = {f"server {url}": health.ready} | {f"system {name}": ready for name, ready in health.systems.items()}
    for name, ready in lines.items():
        console.print(f"{'[green]ready[/]    ' if ready else '[red]not ready[/]'}  {escape(name)}")
