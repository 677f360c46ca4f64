"""Evaluations and calibrations as tables on a terminal."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from tritone_client.answer import Weights
from tritone_client.display.tables import marked
from tritone_client.evaluation.calibrate import Calibration
from tritone_client.evaluation.evaluate import Evaluation, Scores

MEANINGS = (
    "ECE, expected calibration error: how far probabilities are from the share of correct labels. "
    "NLL, negative log-likelihood: how improbable the correct labels were. 0 is best for both."
)
DEMO = "The server has demo weights: these figures mean nothing for real recordings."
SHOWN = 5  # failures with a line of their own; the others are counted


def title(evaluation: Evaluation) -> str:
    """Return a line with the system, the set of options and the accuracy."""
    overall = evaluation.overall
    weights = ", demo weights" if evaluation.weights.demo else ""
    result = f"{percent(overall.top1)} of {overall.recordings} correct"
    return f"{evaluation.model}, {evaluation.name}: {result}{weights}"


def print_evaluations(console: Console, evaluations: Sequence[Evaluation]) -> None:
    """Print the sets of options side by side: overall, by group and by label; then the failures."""
    tables = [overall_table(evaluations)]
    first = evaluations[0]
    if first.groups:
        table = grid("correct, by group", *first.groups)
        table.add_row("recordings", *(str(scores.recordings) for scores in first.groups.values()), style="dim")
        for evaluation in evaluations:
            shares = (percent(scores.top1) for scores in evaluation.groups.values())
            table.add_row(marked(evaluation.name), *shares)
        tables.append(table)
    tables.append(label_table(evaluations))
    for table in tables:
        console.print(table)
        if table is tables[0]:
            console.print(MEANINGS, style="dim")
        console.print()
    for evaluation in evaluations:
        failed = [outcome for outcome in evaluation.outcomes if outcome.error]
        for outcome in failed[:SHOWN]:
            console.print(f"[red]failed[/] {marked(f'{evaluation.name}, {outcome.file}: {outcome.error}')}")
        if len(failed) > SHOWN:
            console.print(f"[red]failed[/] {marked(evaluation.name)}, and {len(failed) - SHOWN} more")
    print_demo(console, first.weights)


def overall_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return a table with a row per set of options: its accuracy and its time."""
    columns: dict[str, Callable[[Scores], str]] = {
        "correct": lambda scores: percent(scores.top1),
        "in top 3": lambda scores: percent(scores.top3),
        "ECE": lambda scores: percent(scores.ece),
        "NLL": lambda scores: "" if scores.nll is None else f"{scores.nll:.3f}",
        "need review": lambda scores: percent(scores.review),
        "correct of the others": lambda scores: percent(scores.top1_sure),
        "failed": lambda scores: str(scores.failed),
        "ms": lambda scores: "" if scores.seconds is None else f"{1000 * scores.seconds:.0f}",
    }
    rows: list[tuple[str, Scores]] = [(e.name, e.overall) for e in evaluations]
    if all(scores.review is None for _, scores in rows):
        del columns["need review"], columns["correct of the others"]
    table = grid(f"{evaluations[0].overall.recordings} recordings", *columns)
    for name, scores in rows:
        table.add_row(marked(name), *(cell(scores) for cell in columns.values()))
    return table


def label_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return a table with a row per label that occurs: its recordings, and its F1 for each set of options."""
    table = grid("F1, by label", "recordings", *(e.name for e in evaluations))
    for label in evaluations[0].labels:
        classes = [e.classes.get(label) for e in evaluations]
        if support := max((scores.support for scores in classes if scores), default=0):
            cells = ("" if scores is None else f"{scores.f1:.2f}" for scores in classes)
            table.add_row(marked(label), str(support), *cells)
    return table


def print_calibration(console: Console, calibration: Calibration) -> None:
    """Print the temperature and its effect."""
    fitted, held_out = calibration.fitted, calibration.held_out
    table = grid("", "temperature", "recordings", "NLL before", "after", "ECE before", "after")
    for name, result in (("fitted on one half, measured on the other", held_out), ("fitted on all", fitted)):
        nll, ece = (f"{value:.3f}" for value in result.nll), (percent(value) for value in result.ece)
        table.add_row(name, f"{result.temperature:.3f}", str(result.recordings), *nll, *ece)
    console.print(table)
    console.print(MEANINGS, style="dim")
    for file, why in list(calibration.failed.items())[:SHOWN]:
        console.print(f"[red]skipped[/] {marked(f'{file}: {why}')}")
    if len(calibration.failed) > SHOWN:
        console.print(f"[red]skipped[/] {len(calibration.failed) - SHOWN} more")
    print_demo(console, calibration.weights)


def print_demo(console: Console, weights: Weights) -> None:
    """Print a note if the figures are those of demo weights."""
    if weights.demo:
        print_note(console, DEMO)


def print_note(console: Console, text: str) -> None:
    """Print a note for the user."""
    console.print(f"[yellow]Note:[/] {marked(text)}")


def grid(first: str, *others: str) -> Table:
    """Return an empty table with a column of names and columns of figures."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(marked(first), overflow="fold")
    for column in others:
        table.add_column(marked(column), justify="right", overflow="fold")
    return table


def percent(share: float | None) -> str:
    """Return a share in percent, empty for None."""
    return "" if share is None else f"{share:.1%}"
