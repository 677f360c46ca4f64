"""Systems and health as tables on a terminal, and answers as records for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tritone_client.answer import Answer
from tritone_client.defaults import EMOTION_MODEL, MODEL
from tritone_client.errors import TritoneError
from tritone_client.plain import plain
from tritone_client.systems import Health, Kind, System

DEFAULTS = (MODEL, EMOTION_MODEL)


def marked(text: object) -> str:
    """Return a text for rich, in one line: rich would interpret brackets, and print control characters."""
    return escape(plain(text))


def record(file: str, answer: Answer | TritoneError) -> dict[str, Any]:
    """Return one file's answer as a record for a line of JSON."""
    if isinstance(answer, TritoneError):
        return {"file": file, "error": str(answer), "cause": type(answer).__name__}
    return {"file": file} | answer.to_dict() | {"file": file}  # first, and even if the server sends a `file`


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
