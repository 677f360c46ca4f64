"""Draws the plots of `make bench`: throughput and latency by requests in flight, and the time of each stage.

They are small and have a white background, which suits light and dark pages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

Figures = dict[str, Any]  # bench.json or a part of it; a key is absent when it was not measured

DPI = 110
INK, FAINT = "#1f2328", "#8c959f"
PROFILES = ("#0969da", "#d4620a", "#1a7f37")
PREPARATION, NETWORK = "#3d7cc9", "#e8883a"
STAGES = {  # preparation blue, network orange, what serving adds in other colours
    "decode": "#1d4e89",
    "downmix": "#2f66a8",
    "resample": PREPARATION,
    "spectrogram": "#6ea3dd",
    "picture": "#a3c5ea",
    "preprocess, rest": "#cfdff2",
    "queue": "#8c959f",
    "network": NETWORK,
    "postprocess": "#7fbf7b",
    "ensemble": "#1b7837",
    "transport": "#9970ab",
    "client": "#c9b3d6",
}


def draw(results: Figures, folder: Path) -> None:
    """Write throughput.png and stages.png, if their figures were measured."""
    if results.get("sweep"):
        _save(_draw_throughput(results), folder / "throughput.png")
    if results.get("stages"):
        _save(_draw_stages(results), folder / "stages.png")


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, facecolor="white", metadata={"Software": None})


def _tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, color=FAINT)
    axes.set_axisbelow(True)


def _draw_throughput(results: Figures) -> Figure:
    """Draw recordings per second on the left and latency on the right, one colour per profile."""
    figure = Figure(figsize=(9.2, 3.7), dpi=DPI, layout="constrained")
    rates, latencies = figure.subplots(1, 2)
    profiles = dict.fromkeys(row["profile"] for row in results["sweep"])
    for profile, colour in zip(profiles, PROFILES, strict=False):
        rows = [row for row in results["sweep"] if row["profile"] == profile]
        x = [row["concurrency"] for row in rows]
        rates.plot(x, [row["rate"] for row in rows], "o-", color=colour, label=profile)
        for percentile, style in (("p50", "o-"), ("p95", "o--")):
            y = [row[percentile] for row in rows]
            latencies.plot(x, y, style, color=colour, label=f"{profile}, {percentile}", markersize=4)
    rows = results.get("comparison", {"rows": []})["rows"]
    others = sorted((row for row in rows if row["name"] in ("article A", "plain Triton")), key=lambda r: r["rate"])
    for row in others:
        below = row is others[0]  # the name of the faster one is above its line, so that they do not overlap
        rates.axhline(row["rate"], color=FAINT, linestyle=":", linewidth=1.2)
        rates.annotate(
            row["name"],
            (1, row["rate"]),
            xycoords=("axes fraction", "data"),
            xytext=(0, -2 if below else 2),
            textcoords="offset points",
            ha="right",
            va="top" if below else "bottom",
            fontsize=8,
            color=INK,
        )
    for axes in (rates, latencies):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({row["concurrency"] for row in results["sweep"]}))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlabel("requests in flight", fontsize=9)
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])  # room for the legend
        axes.grid(axis="y", color="#e5e8eb", linewidth=0.8)
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.legend(fontsize=8, frameon=False, loc="upper left", ncols=2 if axes is rates else 1)
    _tidy(rates, "recordings per second")
    _tidy(latencies, "latency, ms")
    return figure


def _draw_stages(results: Figures) -> Figure:
    """Draw a bar per profile, with the ideal after its profile; negative times (clock noise) are not drawn."""
    comparison = results.get("comparison", {})
    bars: list[tuple[str, list[tuple[str, float, str]]]] = []
    for profile, stages in results["stages"].items():
        bars.append((f"Tritone\n{profile}", [(name, ms, STAGES[name]) for name, ms in stages.items()]))
        if profile == comparison.get("profile") and comparison.get("floors"):
            ideal = next(iter(comparison["floors"].values()))  # the ideal of the server with these stages
            parts = [("preparation", ideal["prepare_ms"], PREPARATION)]
            parts.append(("network", ideal["network_ms"] * ideal["rows"], NETWORK))
            bars.append((f"ideal\n{profile}", parts))
    figure = Figure(figsize=(9.2, 1.7 + 0.62 * len(bars)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    longest = max(sum(ms for _, ms, _ in parts) for _, parts in bars)
    handles: dict[str, Any] = {}
    for y, (_, parts) in enumerate(bars):
        left = 0.0
        for name, ms, colour in parts:
            bar = axes.barh(y, max(ms, 0.0), 0.62, left, color=colour, edgecolor="white", linewidth=0.5)
            if name in STAGES:
                handles.setdefault(name, bar)
            text = f"{ms:.0f}" if name in STAGES else f"{name} {ms:.0f}"
            if ms > 0.007 * (len(text) + 2) * longest:  # wide enough
                ink = "white" if sum(to_rgb(colour)) < 1.9 else INK
                axes.text(left + ms / 2, y, text, ha="center", va="center", fontsize=8, color=ink)
            left += max(ms, 0.0)
        total = sum(ms for _, ms, _ in parts)
        axes.text(left + 0.008 * longest, y, f"{total:.0f} ms", va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(bars)), [label for label, _ in bars])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.08)
    axes.set_xlabel("ms", fontsize=9)
    _tidy(axes, "time per stage of one recording, one request at a time")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    return figure
