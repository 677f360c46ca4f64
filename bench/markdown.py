"""Formats numbers, tables and sentences of the reports."""

from __future__ import annotations

import statistics
import textwrap

from bench.plots import Figures

WIDTH = 115


def table(rows: list[dict[str, str]]) -> str:
    """Return rows as a Markdown table, with numbers right-aligned and without empty columns."""
    columns = {name: [row.get(name, "") for row in rows] for row in rows for name in row}
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    sides = [
        "---:" if all(cell[:1] in "0123456789+-·" for cell in cells if cell) else "---"
        for cells in columns.values()
    ]
    lines = [list(columns), sides, *zip(*columns.values(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short(number: float | None) -> str:
    """Return a number with three digits, or all digits before the point; "" for None."""
    if number is None:
        return ""
    power = int(f"{number:.2e}".split("e")[1])  # of the first digit, after rounding
    return f"{number:.{max(0, 2 - power)}f}"


def ratio(row: Figures, other: Figures | None) -> float | None:
    """Return the ratio of throughputs: the median of the ratios of the rounds."""
    if other is None:
        return None
    return statistics.median(a / b for a, b in zip(row["rates"], other["rates"], strict=True))


def times(number: float | None) -> str:
    """Return a ratio as text; "" for None."""
    return "" if number is None else f"{short(number)}×"


def share(number: float | None) -> str:
    """Return a ratio in percent; "" for None."""
    return "" if number is None else f"{number:.0%}"


def named(comparison: Figures, start: str) -> Figures | None:
    """Return the first pipeline whose name starts with a text."""
    return next((row for row in comparison["rows"] if row["name"].startswith(start)), None)


def ideal(comparison: Figures, ours: Figures) -> Figures | None:
    """Return the ideal pipeline of one of our servers."""
    name = ours["name"].replace("Tritone", "ideal")
    return next((row for row in comparison["rows"] if row["name"] == name), None)


def pipelines(comparison: Figures) -> list[dict[str, str]]:
    """Return one line per pipeline; the ideals are a column of our servers."""
    first, plain = comparison["rows"][0], named(comparison, "plain Triton")
    n, lines = comparison["recordings"], []
    for row in (row for row in comparison["rows"] if not row["name"].startswith("ideal")):
        ours = row["name"].startswith("Tritone")
        agreed = f"{round(row['agreement'] * n)} of {n} ({row['difference']:.1g})"
        lines.append(
            {
                "pipeline": f"**{row['name']}**" if ours else f"{row['name']} ({row['what']})",
                "recordings/s": f"{short(row['rate'])} ({short(row['slowest'])}–{short(row['fastest'])})",
                f"to {first['name']}": times(ratio(row, first)),
                "to plain Triton": times(ratio(row, plain)) if ours else "",
                "of the ideal": share(ratio(row, ideal(comparison, row))) if ours else "",
                "CPU ms": short(row["cpu_ms"]),
                "memory MB": short(row["memory_mb"]),
                "mean batch": short(row["mean_batch"]),
                "same label (probabilities within)": "" if row is first else agreed,
            }
        )
    return lines


def ideals(comparison: Figures) -> str:
    """Return a sentence about the ideals; empty without them."""
    each = [
        f"{short(f['rate'])} recordings/s with {variant} ({short(f['prepare_ms'])} ms of one core per recording,"
        f" {short(f['network_ms'])} ms of all cores per row at the best batch size, {f['batch']})"
        for variant, f in comparison.get("floors", {}).items()
    ]
    about = "The ideal is the rate of the same functions in one process, with perfect overlap and without a server"
    return f"{about}: {'; '.join(each)}." if each else ""


def caption(results: Figures, silent: str = "", real: str = "") -> str:
    """Return command, date, machine, versions and data of a measurement.

    Parameters
    ----------
    silent : remark on what figures from generated sound do not show
    real : description of the data if they are real
    """
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    weights = " and the weights are demo weights" if results.get("demo_weights", True) else ""
    sound = real or f"The sound is generated{weights}{f': {silent}' if silent else ''}"
    return fill(f"`{results['command']}`, {results['date']}: {results['machine']}; {versions}. {sound}.")


def fill(text: str, bullet: str = "") -> str:
    """Wrap text to the width of the pages, but not at hyphens, which may be part of a name."""
    indent = " " * len(bullet)
    return textwrap.fill(
        bullet + text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
