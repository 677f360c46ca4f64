"""What bulk runs reach, as Markdown, made from bulk.json alone."""

from __future__ import annotations

import statistics

from bench.markdown import caption, fill, share, short, table
from bench.plots import Figures


def bulk_section(results: Figures) -> str:
    """The section about bulk runs: a table, and where and when."""
    bulk = results["bulk"]
    ratios = [ours / theirs for ours, theirs in zip(bulk["bulk"], bulk["perf_analyzer"], strict=True)]
    about = (
        f"`tritone bulk --in-flight {bulk['in_flight']}` beside perf_analyzer with as many requests in flight, by"
        f" turns on one server (`{bulk['system']}`, {bulk['variant']}), response cache off: {bulk['recordings']}"
        f" distinct 30 s stereo MP3s of {bulk['mb']:.2f} MB. A bulk run reads each from a file and writes a row of"
        f" its answer. It reached {share(statistics.median(ratios))} of perf_analyzer's rate."
    )
    rows = [
        {
            "": "perf_analyzer",
            "recordings/s": rates(bulk["perf_analyzer"]),
        },
        {
            "": "`tritone bulk`",
            "recordings/s": rates(bulk["bulk"]),
            "client's CPU, ms": short(statistics.median(bulk["cpu_ms"])),
        },
        {
            "": "`tritone bulk`, answers from the cache",
            "recordings/s": short(bulk["cached"]["bulk"]),
            "client's CPU, ms": short(bulk["cached"]["cpu_ms"]),
        },
    ]
    return "\n\n".join([fill(about), table(rows), caption(results)]) + "\n"


def rates(found: list[float]) -> str:
    """The median, the slowest and the fastest."""
    return f"{short(statistics.median(found))} ({short(min(found))}–{short(max(found))})"
