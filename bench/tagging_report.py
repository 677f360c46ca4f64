"""Writes the sections about tags of real music from precision.json and tags.json."""

from __future__ import annotations

from bench.markdown import caption, fill, table
from bench.plots import Figures

REAL = "The music is real, and the weights are those of the package musicnn, trained on real music"


def precision_section(results: Figures) -> str:
    """Return the section about precisions: one table for all systems."""
    found = results["precision"]
    about = (
        f"Tags of real music in other precisions: {found['excerpts']} excerpts of {found['seconds']:.0f} s from"
        f" different songs of games that Debian distributes ({sources(found)}), compared with float32 in ONNX"
        " Runtime. Over 50 independent tags: share of excerpts with the same tags of at least 10 %, differences in"
        " probability, Spearman's rank correlation of the tags, and share of excerpts with the same first tag."
        " FP16, which the server runs on GPUs, is emulated on the CPU: the FP16 network with every value rounded."
    )
    rows = [
        {
            "system": f"`{system}`",
            "precision": _precision(name, found["bf16"]),
            "same tags": f"{one['same_set']:.0%}",
            "mean difference": f"{one['mean_difference']:.1g}",
            "largest": f"{one['max_difference']:.1g}",
            "rank correlation, mean": f"{one['mean_rank']:.4f}",
            "least": f"{one['least_rank']:.4f}",
            "same first tag": f"{one['same_top']:.0%}",
        }
        for system, others in found["systems"].items()
        for name, one in others.items()
    ]
    return "\n\n".join(["### On real music", fill(about), table(rows), caption(results, real=REAL)]) + "\n"


def sources(found: Figures) -> str:
    """Return the packages of the excerpts, with numbers."""
    return ", ".join(f"{name} {n}" for name, n in sorted(found["packages"].items()))


def _precision(variant: str, bf16: bool) -> str:
    names = {"openvino": "bfloat16" if bf16 else "float32", "openvino_int8": "INT8"}
    return f"{names[variant]} (`{variant}`)" if variant in names else variant


def tags_section(results: Figures) -> str:
    """Return the section about disturbances and options: a table for each system."""
    found = results["tags"]
    about = (
        f"{found['excerpts']} excerpts of {found['seconds']:.0f} s from different songs of games that Debian"
        f" distributes ({sources(found)}), disturbed as the first column says. The reference is not a true label, "
        "but the same system's answer to the undisturbed excerpt without options. The cells show how many % of "
        "its three most probable tags are still among the three most probable and, in brackets, the mean "
        "difference of all probabilities. Empty cells were not measured."
    )
    parts = ["### On real music", fill(about)]
    for system, figures in found["systems"].items():
        another, plain = figures["another"], figures["disturbances"]
        scale = (
            f"`{system}` ({found['variant']}). For comparison, the answer to a different song: {_cell(another)}."
        )
        parts += [fill(scale), table(_disturbed(plain))]
    return "\n\n".join([*parts, caption(results, real=REAL)]) + "\n"


def _disturbed(disturbances: Figures) -> list[dict[str, str]]:
    """Return one line for each disturbance; the columns are sets of options."""
    names = next(iter(disturbances.values()))
    return [
        {"disturbed by": disturbance}
        | {
            f"`{name}`" if number else name: "100" if _is_reference(disturbance, name) else _cell(found.get(name))
            for number, name in enumerate(names)
        }
        for disturbance, found in disturbances.items()
    ]


def _is_reference(disturbance: str, option: str) -> bool:
    return (disturbance, option) == ("nothing", "none")


def _cell(figures: Figures | None) -> str:
    if not figures:
        return ""
    refused = f", {figures['refused']} rejected" if figures["refused"] else ""
    return f"{100 * figures['top_kept']:.0f} ({figures['mean_difference']:.3f}){refused}"
