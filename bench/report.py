"""Writes reports (Markdown and plots) from files of figures.

`python -m bench.report FILE` writes them again beside bench/results/bench.json, or another file. `--publish`
copies the file and its plots to bench/published/ and updates the pages of PLACES: between the lines `<!-- bench
-->` and `<!-- /bench -->`, or those of another place, it writes a section for each published file, with its date,
machine and versions.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.bulk_report import bulk_section
from bench.errors import BenchError
from bench.evaluation_report import evaluation_section
from bench.gpu_report import gpu_section
from bench.markdown import caption, fill, ideal, ideals, named, pipelines, ratio, share, short, table, times
from bench.options_report import options_section
from bench.plots import Figures, draw
from bench.similar_report import similar_section
from bench.speech_report import speech_section
from bench.summary_report import summary
from bench.tagging_report import precision_section, tags_section
from server.installation import ROOT

RESULTS, PUBLISHED = ROOT / "bench" / "results", ROOT / "bench" / "published"
# Place -> page and the parts (files of figures) whose sections it contains, in this order.
PLACES = {
    "summary": ("README.md", ("bench", "speech")),
    "bench": ("docs/benchmarks.md", ("bench", "speech", "bulk", "precision", "similar", "gpu")),
    "options": ("docs/options.md", ("evaluation", "costs", "tags")),
}
# Part -> name of the summary that is written beside its figures.
PARTS = {part: "summary.md" if part == "bench" else f"{part}.md" for _, parts in PLACES.values() for part in parts}
# Part -> function that writes its section (bench.json has `section` itself).
SECTIONS = {
    "precision": precision_section,
    "speech": speech_section,
    "bulk": bulk_section,
    "similar": similar_section,
    "gpu": gpu_section,
    "evaluation": evaluation_section,
    "tags": tags_section,
    "costs": options_section,
}


def main() -> int:
    """Write the report again, or publish it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__.splitlines()[0])
    parser.add_argument(
        "json", nargs="?", type=Path, default=RESULTS / "bench.json", help="figures (default: %(default)s)"
    )
    parser.add_argument(
        "--publish", action="store_true", help="copy the figures to bench/published/ and update the pages"
    )
    arguments = parser.parse_args()
    try:
        if arguments.publish:
            publish(arguments.json, PUBLISHED, ROOT)
        else:
            print(write_report(read_results(arguments.json), arguments.json.parent))
    except BenchError as error:
        print(f"bench.report: {error}", file=sys.stderr)
        return 2
    return 0


def read_results(file: Path) -> Figures:
    """Read a file of figures; raise BenchError if it is missing."""
    if not file.is_file():
        raise BenchError(f"{file} is missing: run make bench")
    return json.loads(file.read_text(encoding="utf-8"))


def part(results: Figures) -> str:
    """Return which of PARTS figures belong to."""
    return next((name for name in PARTS if name in results), "bench")


def write_report(results: Figures, folder: Path) -> str:
    """Write the plots and the summary (named in PARTS) to a folder; return the Markdown."""
    draw(results, folder)
    text = section(results, ".")
    (folder / PARTS[part(results)]).write_text(text, encoding="utf-8")
    return text


def publish(file: Path, folder: Path, root: Path) -> None:
    """Copy the figures to a folder, draw their plots there, and update the pages below `root`.

    Raises
    ------
    BenchError
        If the figures or the two lines in a page are missing; nothing is written then.
    """
    results = read_results(file)
    figures = read_published(folder) | {part(results): results}
    pages: dict[Path, str] = {}
    for place, (name, parts) in PLACES.items():
        if part(results) in parts:
            page = root / name
            text = sections(figures, os.path.relpath(folder, page.parent), place)
            pages[page] = filled(page.read_text(encoding="utf-8"), page.name, place, text)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{part(results)}.json"
    if file.resolve() != target.resolve():
        shutil.copyfile(file, target)
    draw(results, folder)
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")


def filled(page: str, name: str, place: str, text: str) -> str:
    """Return a page with `text` in a place; raise BenchError unless the page has that place exactly once."""
    pattern = re.compile(rf"^<!-- {place} -->\n.*?^<!-- /{place} -->$", re.DOTALL | re.MULTILINE)
    new, places = pattern.subn(lambda _: f"<!-- {place} -->\n{text}<!-- /{place} -->", page)
    if places != 1:
        raise BenchError(
            f"{name} has {places} sections for the figures; it needs one line <!-- {place} --> and below it"
            f" one line <!-- /{place} -->"
        )
    return new


def read_published(folder: Path) -> dict[str, Figures]:
    """Return part -> figures of the files in a folder."""
    files = {name: folder / f"{name}.json" for name in PARTS}
    return {name: read_results(file) for name, file in files.items() if file.is_file()}


def sections(figures: dict[str, Figures], folder: str, place: str) -> str:
    """Return the Markdown of the parts of a place that were measured."""
    if place == "summary":
        return summary(figures) if "bench" in figures else ""
    return "\n".join(section(figures[name], folder) for name in PLACES[place][1] if name in figures)


def section(results: Figures, folder: str) -> str:
    """Return the Markdown of all figures; `folder` is the folder of the plots, relative to the page."""
    if own := SECTIONS.get(part(results)):
        return own(results)
    parts = []
    if comparison := results.get("comparison"):
        parts += [fill(_about(comparison)), table(pipelines(comparison)), fill(ideals(comparison))]
    if sweep := results.get("sweep"):
        parts += [fill(_about_sweep(comparison)), table(_loads(sweep))]
        parts.append(f"![Throughput and latency by requests in flight]({folder}/throughput.png)")
    if results.get("stages"):
        parts.append(f"![Time per stage of one recording]({folder}/stages.png)")
    if also := list(_also(results)):
        parts.append(table(also))
    parts.append("\n".join(fill(fact, "- ") for fact in _facts(results)))
    parts.append(caption(results, "the agreement of the pipelines says nothing about real music"))
    return "\n\n".join(filter(None, parts)) + "\n"


def _about(comparison: Figures) -> str:
    return (
        f"{comparison['recordings']} distinct recordings of 30 s (stereo, 44.1 kHz, {comparison['format']}),"
        f" `{comparison['model']}`, profile `{comparison['profile']}`. The pipelines alternate for"
        f" {comparison['rounds']} rounds; the table shows medians (slowest–fastest), and ratios are taken within a"
        f" round. Both servers receive {comparison['concurrency']} concurrent requests over gRPC, response cache "
        "off. CPU time is per recording. Memory is the peak of a process, or the memory of all processes of a "
        "server after a turn (PSS). Labels and probabilities are compared with those of"
        f" {comparison['rows'][0]['name']}."
    )


def _about_sweep(comparison: Figures | None) -> str:
    ours = comparison and named(comparison, "Tritone")
    return f"{ours['name'] if ours else 'Tritone'} by the number of requests in flight:"


def _loads(sweep: list[Figures]) -> list[dict[str, str]]:
    """Return one line per concurrency, with the profiles in columns."""
    lines: dict[int, dict[str, str]] = {}
    for row in sweep:
        line = lines.setdefault(row["concurrency"], {"in flight": str(row["concurrency"])})
        line[f"{row['profile']}: recordings/s"] = short(row["rate"])
        line[f"{row['profile']}: p50 / p95 / p99 ms"] = " / ".join(f"{row[p]:.0f}" for p in ("p50", "p95", "p99"))
        line[f"{row['profile']}: mean batch"] = short(row["mean_batch"])
    return list(lines.values())


def _facts(results: Figures) -> Iterator[str]:
    """Yield a sentence for each other measurement."""
    if overhead := results.get("overhead_ms"):
        yield (
            "One request at a time, everything but decoding, downmix, resampling, spectrogram and network takes"
            f" {short(overhead)} ms (without the time that the Python client adds)."
        )
    if load := results.get("open_loop"):
        # perf_analyzer's random stream is short and seeded: the resulting rate counts, not the requested one.
        rows = ", ".join(f"{row['p95']:.0f} ms at {short(row['rate'])}/s" for row in load["rows"])
        held = [row["rate"] for row in load["rows"] if row["p95"] <= load["limit_ms"]]
        most = f"up to {short(max(held))}/s" if held else "at none of these rates"
        yield (
            f"p95 latency when recordings arrive at random (Poisson): {rows}; within {load['limit_ms']} ms {most}."
        )
    if repeat := results.get("repeat"):
        yield (
            f"A repeated recording is answered in {short(repeat['p50'])} ms (p50; p95 {short(repeat['p95'])} ms;"
            f" {repeat['hit_ratio']:.1%} of {repeat['requests']} requests came from the cache)."
        )
    if memory := results.get("memory"):
        samples = memory["samples"][-1:]
        later = f", {samples[0]['mb']:.0f} MB after {samples[0]['requests']} requests" if samples else ""
        yield (
            f"Memory of all server processes (`{memory['model']}`, {memory['variant']}): at most"
            f" {memory['load_peak_mb']:.0f} MB while loading, {memory['ready_mb']:.0f} MB when ready{later}."
        )
    if kernels := results.get("kernels"):
        each = "; ".join(
            f"{k['what']} {times(k['ratio'])} ({short(k['ours_ms'])} ms, {k['difference']:.0e})" for k in kernels
        )
        yield f"librosa's time divided by ours on one core, and largest difference relative to the peak: {each}."


def _also(results: Figures) -> Iterator[dict[str, str]]:
    """Yield one line for each other comparison of our server with a pipeline."""
    comparisons = [(f"{each['format']} files", each) for each in results.get("formats", [])]
    comparisons.append(("songs of 4 minutes, all slices", results.get("song")))
    comparisons += [("", results.get(key)) for key in ("comparison_b", "comparison_tags")]
    for what, comparison in comparisons:
        if comparison:
            first, ours = comparison["rows"][0], named(comparison, "Tritone")
            assert ours is not None, "every comparison has our server"
            names = f"`{comparison['model']}`, `{comparison['profile']}`"
            yield {
                "also measured": f"{names}, {what}" if what else names,
                "compared with": f"{first['name']} ({first['what']})",
                "its recordings/s": short(first["rate"]),
                "Tritone's": short(ours["rate"]),
                "ratio": times(ratio(ours, first)),
                "of the ideal": share(ratio(ours, ideal(comparison, ours))),
            }


if __name__ == "__main__":
    sys.exit(main())
