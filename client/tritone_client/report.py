"""Predictions, systems and health as tables for people and records for programs."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tritone_client.client import Health, System
from tritone_client.emotion import EmotionPrediction, Segment
from tritone_client.errors import TritoneError
from tritone_client.plain import formatted, plain
from tritone_client.prediction import AppliedRule, Prediction

Answer = TypeVar("Answer", Prediction, EmotionPrediction)

BAR = 10  # characters of a full probability bar
RUNNERS_UP = 3  # emotions shown beside the best
SEGMENTS = 8  # of a timeline shown; the others are counted


def marked(text: object) -> str:
    """Any text as rich prints it in one line: rich reads marks in brackets, and passes control characters on."""
    return escape(plain(text))


def record(file: str, answer: Prediction | EmotionPrediction | TritoneError) -> dict[str, Any]:
    """One file's answer for a line of JSON."""
    if isinstance(answer, TritoneError):
        return {"file": file, "error": str(answer), "cause": type(answer).__name__}
    return {"file": file} | answer.to_dict() | {"file": file}  # a server may name one, too


def print_predictions(console: Console, answers: Sequence[tuple[str, Prediction | TritoneError]]) -> None:
    """What `tritone classify` shows."""
    print_answers(console, answers, ("label", "probability", "next", "slices"), cells)


def print_emotions(
    console: Console, answers: Sequence[tuple[str, EmotionPrediction | TritoneError]], timelines: bool
) -> None:
    """What `tritone emotion` shows, with a column for the timelines or without."""
    columns = ("emotion", "score", "next") + ("timeline, s",) * timelines
    print_answers(console, answers, columns, lambda answer: emotion_cells(answer)[: len(columns)])


def print_answers(
    console: Console,
    answers: Sequence[tuple[str, Answer | TritoneError]],
    columns: Sequence[str],
    cells: Callable[[Answer], list[str]],
) -> None:
    """A row per file, a failed one with its sentence, then each note once.

    `columns` are those between file and ms, `cells` what stands there: the label, its bar, and more.
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
        table.add_row(marked(file), *cells(answer), f"{1000 * answer.seconds:.0f}")
        notes |= dict.fromkeys([*answer.notes, *(f"{file}: {reason}" for reason in reasons(answer))])
    console.print(table)
    for note in notes:
        console.print(f"[yellow]Note:[/] {marked(note)}")


def cells(prediction: Prediction) -> list[str]:
    """Label, bar, runners-up and vote of one prediction."""
    best = prediction.top[0]
    runners_up = ", ".join(f"{entry.label} {entry.probability:.0%}" for entry in prediction.top[1:])
    vote = f"{prediction.vote.share:.0%} of {len(prediction.slices)}"
    if prediction.vote.label != prediction.label:
        vote += f": {prediction.vote.label}"
    label = marked(f"{best.label} {best.label_zh}".strip()) + review(prediction)
    return [label, bar(best.probability), marked(runners_up), marked(vote)]


def emotion_cells(prediction: EmotionPrediction) -> list[str]:
    """Emotion, bar, runners-up and timeline of one prediction."""
    if prediction.emotion is None or prediction.confidence is None:
        return ["silence", "", "", ""]
    ranked = sorted(prediction.scores.items(), key=lambda entry: -entry[1])
    others = [entry for entry in ranked if entry[0] != prediction.emotion][:RUNNERS_UP]
    runners_up = ", ".join(f"{emotion} {score:.0%}" for emotion, score in others)
    label = marked(f"{prediction.emotion} {prediction.emotion_zh or ''}".strip()) + review(prediction)
    return [label, bar(prediction.confidence), marked(runners_up), marked(timeline(prediction.segments))]


def review(prediction: Prediction | EmotionPrediction) -> str:
    """The mark of an answer that a person should look at."""
    return " [yellow]review[/]" if prediction.needs_review else ""


def reasons(prediction: Prediction | EmotionPrediction) -> list[str]:
    """What the rules changed in a prediction, a sentence each."""
    if isinstance(prediction, EmotionPrediction):
        return []
    return [reason(rule) for rule in prediction.rules]


def reason(applied: AppliedRule) -> str:
    """What a rule changed, and why."""
    because = ", ".join(f"{name} {formatted(value, '.3g')}" for name, value in applied.because.items())
    changes = (
        f"{change.label} {formatted(change.before, '.0%')} → {formatted(change.after, '.0%')}"
        for change in applied.changes
    )
    return f"Rule '{applied.rule}' ({because}): {', '.join(changes)}."


def timeline(segments: Sequence[Segment]) -> str:
    """`neutral 0.0–1.8, happy 1.8–4.2` for two segments; no more than `SEGMENTS` of them."""
    shown = [f"{s.emotion} {s.start:.1f}–{s.end:.1f}" for s in segments[:SEGMENTS]]
    hidden = len(segments) - len(shown)
    return ", ".join(shown) + (f" and {hidden} more" if hidden else "")


def bar(share: float) -> str:
    """A share of 1 as a bar and in percent."""
    filled = round(BAR * share)
    return f"[green]{'━' * filled}[/][dim]{'─' * (BAR - filled)}[/] {share:4.0%}"


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
        table.add_row(marked(system.name), state, marked(system.version), marked(system.platform))
    console.print(table)


def print_health(console: Console, health: Health, url: str) -> None:
    """A line for the server and one per system."""
    lines = {f"server {url}": health.ready} | {f"system {name}": ready for name, ready in health.systems.items()}
    for name, ready in lines.items():
        console.print(f"{'[green]ready[/]    ' if ready else '[red]not ready[/]'}  {marked(name)}")
