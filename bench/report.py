"""What `make bench` found, for people: a section of Markdown and two plots, made from bench.json alone.

`python -m bench.report` writes them again beside bench/results/bench.json. With `--publish` the figures and plots
go to bench/published/, and the section to README.md between the lines `<!-- bench -->` and `<!-- /bench -->`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from bench.embedded import ROOT
from bench.errors import BenchError
from bench.plots import Figures, draw

RESULTS, PUBLISHED, README = ROOT / "bench" / "results", ROOT / "bench" / "published", ROOT / "README.md"
SECTION = re.compile(r"^<!-- bench -->\n.*?^<!-- /bench -->$", re.DOTALL | re.MULTILINE)
WIDTH = 115
DEMO = (
    "The sound is generated and the weights are demo weights: that pipelines agree says nothing about real music."
)
OWN = "The sound is generated: that pipelines agree says nothing about real music."


def main() -> int:
    """Write the report again, or publish it. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__.splitlines()[0])
    parser.add_argument(
        "json", nargs="?", type=Path, default=RESULTS / "bench.json", help="figures (default: %(default)s)"
    )
    parser.add_argument("--publish", action="store_true", help="to bench/published/ and README.md")
    arguments = parser.parse_args()
    try:
        if arguments.publish:
            publish(arguments.json, PUBLISHED, README)
        else:
            print(write_report(read_results(arguments.json), arguments.json.parent))
    except BenchError as error:
        print(f"bench.report: {error}", file=sys.stderr)
        return 2
    return 0


def read_results(file: Path) -> Figures:
    """The figures in bench.json; BenchError without it."""
    if not file.is_file():
        raise BenchError(f"{file} is missing: run make bench")
    return json.loads(file.read_text(encoding="utf-8"))


def write_report(results: Figures, folder: Path) -> str:
    """Write throughput.png, stages.png and summary.md to a folder, and return the Markdown of the last."""
    draw(results, folder)
    text = section(results, ".")
    (folder / "summary.md").write_text(text, encoding="utf-8")
    return text


def publish(file: Path, folder: Path, readme: Path) -> None:
    """Copy the figures to a folder, draw their plots there, and put the section into README.md, which lies above.

    Raises
    ------
    BenchError
        and nothing is written, without figures or without the two lines
    """
    results, old = read_results(file), readme.read_text(encoding="utf-8")
    text = section(results, folder.relative_to(readme.parent).as_posix())
    new, places = SECTION.subn(lambda _: f"<!-- bench -->\n{text}<!-- /bench -->", old)
    if places != 1:
        raise BenchError(
            f"{readme.name} has {places} sections for the figures: have one line <!-- bench --> and below it"
            " one line <!-- /bench -->"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if file.resolve() != (folder / "bench.json").resolve():
        shutil.copyfile(file, folder / "bench.json")
    draw(results, folder)
    readme.write_text(new, encoding="utf-8")


def section(results: Figures, folder: str) -> str:
    """Markdown of all that was measured; the plots are sought in a folder, relative to where the text will lie."""
    parts = []
    if comparison := results.get("comparison"):
        parts += [_fill(_about(comparison)), table(_pipelines(comparison)), _fill(_floors(comparison))]
    if sweep := results.get("sweep"):
        parts += [_fill(_about_sweep(comparison)), table(_loads(sweep))]
        parts.append(f"![Throughput and latency over requests in flight]({folder}/throughput.png)")
    if results.get("stages"):
        parts.append(f"![Where the time of one recording goes]({folder}/stages.png)")
    if also := list(_also(results)):
        parts.append(table(also))
    parts.append("\n".join(_fill(fact, "- ") for fact in _facts(results)))
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    weights = DEMO if results.get("demo_weights", True) else OWN
    parts.append(_fill(f"`{results['command']}`, {results['date']}: {results['machine']}; {versions}. {weights}"))
    return "\n\n".join(filter(None, parts)) + "\n"


def table(rows: list[dict[str, str]]) -> str:
    """Markdown of rows, numbers to the right; a column is left out when all its cells are empty."""
    columns = {name: [row.get(name, "") for row in rows] for row in rows for name in row}
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    sides = ["---:" if all(cell[:1].isdigit() for cell in cells if cell) else "---" for cells in columns.values()]
    lines = [list(columns), sides, *zip(*columns.values(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short(number: float | None) -> str:
    """Three digits, or all before the point; nothing for nothing."""
    if number is None:
        return ""
    power = int(f"{number:.2e}".split("e")[1])  # of the first digit, after rounding
    return f"{number:.{max(0, 2 - power)}f}"


def ratio(row: Figures, other: Figures | None) -> float | None:
    """How many times as many recordings per second: the median of the rounds' ratios."""
    if other is None:
        return None
    return statistics.median(a / b for a, b in zip(row["rates"], other["rates"], strict=True))


def _times(number: float | None) -> str:
    return "" if number is None else f"{short(number)}×"


def _share(number: float | None) -> str:
    return "" if number is None else f"{number:.0%}"


def _named(comparison: Figures, start: str) -> Figures | None:
    """The first pipeline whose name starts so."""
    return next((row for row in comparison["rows"] if row["name"].startswith(start)), None)


def _floor(comparison: Figures, ours: Figures) -> Figures | None:
    """The floor of one of our servers."""
    name = ours["name"].replace("Tritone", "floor")
    return next((row for row in comparison["rows"] if row["name"] == name), None)


def _about(comparison: Figures) -> str:
    return (
        f"{comparison['recordings']} distinct recordings of 30 s (stereo, 44.1 kHz, {comparison['format']}),"
        f" `{comparison['model']}`, profile `{comparison['profile']}`. The pipelines take turns,"
        f" {comparison['rounds']} rounds; shown are medians, in brackets slowest and fastest, and ratios are those"
        f" within a round. Both servers are asked over gRPC, {comparison['concurrency']} requests in flight,"
        " response cache off. CPU is per recording; memory is the peak of a process, or what all processes of a"
        " server hold after a turn (PSS); labels and probabilities are compared with those of"
        f" {comparison['rows'][0]['name']}."
    )


def _pipelines(comparison: Figures) -> list[dict[str, str]]:
    """One line per pipeline; the floors are a column of ours."""
    first, plain = comparison["rows"][0], _named(comparison, "plain Triton")
    n, lines = comparison["recordings"], []
    for row in (row for row in comparison["rows"] if not row["name"].startswith("floor")):
        ours = row["name"].startswith("Tritone")
        agreed = f"{round(row['agreement'] * n)} of {n} ({row['difference']:.1g})"
        lines.append(
            {
                "pipeline": f"**{row['name']}**" if ours else f"{row['name']} ({row['what']})",
                "recordings/s": f"{short(row['rate'])} ({short(row['slowest'])}–{short(row['fastest'])})",
                f"to {first['name']}": _times(ratio(row, first)),
                "to plain Triton": _times(ratio(row, plain)) if ours else "",
                "of the floor": _share(ratio(row, _floor(comparison, row))) if ours else "",
                "CPU ms": short(row["cpu_ms"]),
                "memory MB": short(row["memory_mb"]),
                "mean batch": short(row["mean_batch"]),
                "same label (probabilities within)": "" if row is first else agreed,
            }
        )
    return lines


def _floors(comparison: Figures) -> str:
    floors = [
        f"{short(f['rate'])} recordings/s with {variant} ({short(f['prepare_ms'])} ms of one core to prepare one,"
        f" {short(f['network_ms'])} ms of all cores per row, at the best batch, {f['batch']})"
        for variant, f in comparison.get("floors", {}).items()
    ]
    about = "The floor is the same functions in one process with perfect overlap and no server"
    return f"{about}: {'; '.join(floors)}." if floors else ""


def _about_sweep(comparison: Figures | None) -> str:
    ours = comparison and _named(comparison, "Tritone")
    return f"{ours['name'] if ours else 'Tritone'}, over the number of requests in flight:"


def _loads(sweep: list[Figures]) -> list[dict[str, str]]:
    """One line per concurrency, the profiles side by side."""
    lines: dict[int, dict[str, str]] = {}
    for row in sweep:
        line = lines.setdefault(row["concurrency"], {"in flight": str(row["concurrency"])})
        line[f"{row['profile']}: recordings/s"] = short(row["rate"])
        line[f"{row['profile']}: p50 / p95 / p99 ms"] = " / ".join(f"{row[p]:.0f}" for p in ("p50", "p95", "p99"))
        line[f"{row['profile']}: mean batch"] = short(row["mean_batch"])
    return list(lines.values())


def _facts(results: Figures) -> Iterator[str]:
    """A sentence for each other thing that was measured."""
    if overhead := results.get("overhead_ms"):
        yield (
            "One request at a time, all that is not decoding, downmix, resampling, spectrogram or network takes"
            f" {short(overhead)} ms (without what the Python client adds)."
        )
    if load := results.get("open_loop"):
        # perf_analyzer's random stream is short and seeded: what came of it counts, not what it was asked for.
        rows = ", ".join(f"{row['p95']:.0f} ms at {short(row['rate'])}/s" for row in load["rows"])
        held = [row["rate"] for row in load["rows"] if row["p95"] <= load["limit_ms"]]
        most = f"up to {short(max(held))}/s" if held else "at none of these rates"
        yield (
            f"Recordings that arrive at random (Poisson), p95: {rows}; it is within {load['limit_ms']} ms {most}."
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
            f"{k['what']} {_times(k['ratio'])} ({short(k['ours_ms'])} ms, {k['difference']:.0e})" for k in kernels
        )
        yield f"librosa's time to ours on one core, and the largest difference relative to the peak: {each}."


def _also(results: Figures) -> Iterator[dict[str, str]]:
    """One line for each other comparison of our server with a pipeline."""
    comparisons = [(f"{each['format']} files", each) for each in results.get("formats", [])]
    comparisons += [("songs of 4 minutes, every slice", results.get("song")), ("", results.get("comparison_b"))]
    for what, comparison in comparisons:
        if comparison:
            first, ours = comparison["rows"][0], _named(comparison, "Tritone")
            names = f"`{comparison['model']}`, `{comparison['profile']}`"
            yield {
                "also measured": f"{names}, {what}" if what else names,
                "beside": f"{first['name']} ({first['what']})",
                "its recordings/s": short(first["rate"]),
                "Tritone's": short(ours["rate"]),
                "ratio": _times(ratio(ours, first)),
                "of the floor": _share(ratio(ours, _floor(comparison, ours))),
            }


def _fill(text: str, bullet: str = "") -> str:
    """Lines as long as README's; a hyphen is no place to break, it may stand in a name."""
    indent = " " * len(bullet)
    return textwrap.fill(
        bullet + text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


if __name__ == "__main__":
    sys.exit(main())
