"""Writes the section about bulk runs from bulk.json."""

from __future__ import annotations

import statistics

from bench.markdown import caption, fill, share, short, table
from bench.plots import Figures


def bulk_section(results: Figures) -> str:
    """Return the section about bulk runs: text, a table and the caption."""
    bulk = results["bulk"]
    ratios = [ours / theirs for ours, theirs in zip(bulk["bulk"], bulk["perf_analyzer"], strict=True)]
    about = (
        f"`tritone bulk --in-flight {bulk['in_flight']}` compared with perf_analyzer at the same number of "
        f"requests in flight, alternating on one server (`{bulk['system']}`, {bulk['variant']}), response cache "
        f"off: {bulk['recordings']} distinct 30 s stereo MP3 files of {bulk['mb']:.2f} MB. A bulk run reads each "
        f"file and writes its answer as a row. It reached {share(statistics.median(ratios))} of perf_analyzer's "
        "rate."
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
    """Return the median with the slowest and the fastest rate."""
    return f"{short(statistics.median(found))} ({short(min(found))}–{short(max(found))})"
