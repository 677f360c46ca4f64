"""Evaluations and calibrations as tables for people."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from tritone_client.answer import Weights
from tritone_client.display.tables import marked
from tritone_client.evaluation.calibrate import Calibration
from tritone_client.evaluation.evaluate import Evaluation, Scores

DEMO = "The server has demo weights: these figures mean nothing for real recordings."
SHOWN = 5  # failures in a row of their own; the others are counted


def title(evaluation: Evaluation) -> str:
    """What was measured, in a line."""
    overall = evaluation.overall
    weights = ", demo weights" if evaluation.weights.demo else ""
    return f"{evaluation.model}, {evaluation.name}: {percent(overall.top1)} of {overall.recordings} right{weights}"


def print_evaluations(console: Console, evaluations: Sequence[Evaluation]) -> None:
    """What `tritone evaluate` shows: sets of options side by side, by group and by label, and what failed."""
    tables = [overall_table(evaluations)]
    first = evaluations[0]
    if first.groups:
        table = grid("right, by group", *first.groups)
        table.add_row("recordings", *(str(scores.recordings) for scores in first.groups.values()), style="dim")
        for one in evaluations:
            table.add_row(marked(one.name), *(percent(scores.top1) for scores in one.groups.values()))
        tables.append(table)
    tables.append(label_table(evaluations))
    for table in tables:
        console.print(table)
        console.print()
    for one in evaluations:
        failed = [outcome for outcome in one.outcomes if outcome.error]
        for outcome in failed[:SHOWN]:
            console.print(f"[red]failed[/] {marked(f'{one.name}, {outcome.file}: {outcome.error}')}")
        if len(failed) > SHOWN:
            console.print(f"[red]failed[/] {marked(one.name)}, and {len(failed) - SHOWN} more")
    print_demo(console, first.weights)


def overall_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row per set of options: how good it is, and what that costs."""
    columns: dict[str, Callable[[Scores], str]] = {
        "right": lambda scores: percent(scores.top1),
        "in top 3": lambda scores: percent(scores.top3),
        "ECE": lambda scores: percent(scores.ece),
        "NLL": lambda scores: "" if scores.nll is None else f"{scores.nll:.3f}",
        "to review": lambda scores: percent(scores.review),
        "right of the others": lambda scores: percent(scores.top1_sure),
        "failed": lambda scores: str(scores.failed),
        "ms": lambda scores: "" if scores.seconds is None else f"{1000 * scores.seconds:.0f}",
    }
    rows: list[tuple[str, Scores]] = [(one.name, one.overall) for one in evaluations]
    if all(scores.review is None for _, scores in rows):
        del columns["to review"], columns["right of the others"]
    table = grid(f"{evaluations[0].overall.recordings} recordings", *columns)
    for name, scores in rows:
        table.add_row(marked(name), *(cell(scores) for cell in columns.values()))
    return table


def label_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row per label that occurs: of how many recordings, and its F1 score for each set of options."""
    table = grid("F1, by label", "recordings", *(one.name for one in evaluations))
    for label in evaluations[0].labels:
        classes = [one.classes.get(label) for one in evaluations]
        if support := max((scores.support for scores in classes if scores), default=0):
            cells = ("" if scores is None else f"{scores.f1:.2f}" for scores in classes)
            table.add_row(marked(label), str(support), *cells)
    return table


def print_calibration(console: Console, calibration: Calibration) -> None:
    """What `tritone calibrate` shows: the temperature, and what it changes."""
    fitted, held_out = calibration.fitted, calibration.held_out
    table = grid("", "temperature", "recordings", "NLL before", "after", "ECE before", "after")
    for name, one in (("fitted on one half, measured on the other", held_out), ("fitted on all", fitted)):
        nll, ece = (f"{value:.3f}" for value in one.nll), (percent(value) for value in one.ece)
        table.add_row(name, f"{one.temperature:.3f}", str(one.recordings), *nll, *ece)
    console.print(table)
    for file, why in list(calibration.failed.items())[:SHOWN]:
        console.print(f"[red]left out[/] {marked(f'{file}: {why}')}")
    if len(calibration.failed) > SHOWN:
        console.print(f"[red]left out[/] {len(calibration.failed) - SHOWN} more")
    print_demo(console, calibration.weights)


def print_demo(console: Console, weights: Weights) -> None:
    """Say what figures of demo weights are worth."""
    if weights.demo:
        print_note(console, DEMO)


def print_note(console: Console, text: str) -> None:
    """A sentence that a person should read."""
    console.print(f"[yellow]Note:[/] {marked(text)}")


def grid(first: str, *others: str) -> Table:
    """An empty table of a name and figures."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(marked(first), overflow="fold")
    for column in others:
        table.add_column(marked(column), justify="right", overflow="fold")
    return table


def percent(share: float | None) -> str:
    """A share in percent, empty where there is none."""
    return "" if share is None else f"{share:.1%}"
