"""Writes the section about the value of the options from evaluation.json."""

from __future__ import annotations

from collections.abc import Sequence

from bench.markdown import caption, fill, table
from bench.plots import Figures

# Column -> groups of `bench.evaluation_sets`; short, mixture and medley are ambiguous.
GROUPS = {
    "clean": ("clean",),
    "noise at 30 dB": ("noise-30",),
    "20, 10": ("noise-20", "noise-10"),
    "5, 0": ("noise-5", "noise-0"),
    "clipping": ("clipping",),
    "low bit rate": ("low-bitrate",),
    "short": ("short",),
    "mixture": ("mixture",),
    "medley": ("medley",),
    "silence": ("silence",),
}


def evaluation_section(results: Figures) -> str:
    """Return the section about the options: a table and remarks for each system, and the caption."""
    parts = []
    for system in results["evaluation"]:
        parts += [fill(_about(system)), table(_rows(system)), fill(_voting(system)), fill(_calibration(system))]
    parts.append(caption(results, "the gains and losses say nothing about real music"))
    return "\n\n".join(filter(None, parts)) + "\n"


def _about(system: Figures) -> str:
    per_group = system["recordings"] // sum(map(len, GROUPS.values()))
    return (
        f"`{system['model']}` ({system['variant']}), {system['recordings']} recordings, {per_group} of each group:"
        " share of correct labels in %; for an option, the points that it gains or loses (·: none). Short, mixture"
        " and medley are ambiguous. Over all groups: calibration error (ECE), and the share of recordings that"
        " `uncertainty=entropy` marks for review by a person."
    )


def _rows(system: Figures) -> list[dict[str, str]]:
    sets = system["sets"]
    names = list(sets)
    rows = []
    for name in names:
        row = {"option": f"`{name}`" if name != names[0] else name}
        for column, groups in GROUPS.items():
            row[column] = _points(sets[name], sets[names[0]] if name != names[0] else None, groups)
        row["ECE"] = f"{sets[name]['overall']['ece']:.3f}"
        row["review"] = f"{sets[name]['overall']['review']:.0%}"
        rows.append(row)
    return rows


def top1(scores: Figures, groups: Sequence[str]) -> float:
    """Return the share of correct labels over groups of the same size, in percent."""
    return 100 * sum(scores["groups"][group]["top1"] for group in groups) / len(groups)


def _points(scores: Figures, others: Figures | None, groups: Sequence[str]) -> str:
    """Return the percentage of correct labels, or the difference from others."""
    if others is None:
        return f"{top1(scores, groups):.0f}"
    difference = top1(scores, groups) - top1(others, groups)
    return "·" if abs(difference) < 0.5 else f"{difference:+.0f}"


def _voting(system: Figures) -> str:
    """Return a sentence that compares segments with the first 30 s alone."""
    sets = system["sets"]
    first, segments = sets["crop=first"], sets["segments=5"]
    before, after = (top1(scores, ("medley",)) for scores in (first, segments))
    return (
        f"The mean over five segments recognises {after:.0f} % of the medleys, the first 30 s alone, with which "
        f"article B starts, {before:.0f} %. Without options every slice of the file is analysed, which is such a "
        "vote already."
    )


def _calibration(system: Figures) -> str:
    found = system["calibration"]["held_out"]
    (ece, ece_after), (nll, nll_after) = found["ece"], found["nll"]
    return (
        f"A temperature fitted on one half of the recordings ({found['temperature']:.2f}) changes the calibration"
        f" error of the other half from {ece:.3f} to {ece_after:.3f} and its NLL from {nll:.2f} to "
        f"{nll_after:.2f}."
    )
