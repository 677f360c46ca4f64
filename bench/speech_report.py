"""Writes the section about the speech system from speech.json."""

from __future__ import annotations

from collections.abc import Iterator

from bench.markdown import caption, fill, ideals, pipelines, table, times
from bench.plots import Figures


def speech_section(results: Figures) -> str:
    """Return the section about the speech system: the pipelines, further measurements, and the caption."""
    speech = results["speech"]
    parts = [fill(_about(speech)), table(pipelines(speech)), fill(ideals(speech))]
    parts.append("\n".join(fill(fact, "- ") for fact in _facts(speech)))
    parts.append(caption(results, "the agreement of the pipelines says nothing about real speech"))
    return "\n\n".join(filter(None, parts)) + "\n"


def _about(speech: Figures) -> str:
    shortest, longest = speech["seconds"]
    return (
        f"{speech['recordings']} distinct utterances of {shortest:g} to {longest:g} s (three in four WAV, mono,"
        f" 16 kHz; one in four MP3, stereo, 44.1 kHz), `{speech['model']}`, measured in the same way:"
        f" {speech['rounds']} rounds, {speech['concurrency']} requests in flight over gRPC, response cache off."
    )


def _facts(speech: Figures) -> Iterator[str]:
    """Yield a sentence for each other measurement."""
    if load := speech.get("load"):
        each = "; ".join(
            f"{row['p50']:.0f} and {row['p95']:.0f} ms with {row['concurrency']} in flight" for row in load
        )
        yield f"Latency, p50 and p95: {each}."
    if first := speech.get("first"):
        lengths = ", ".join(f"{seconds:g}" for seconds in sorted({row["seconds"] for row in first}))
        very, others = (
            max(row["ratio"] for row in first if row["very_first"] is wanted) for wanted in (True, False)
        )
        starts = len({row["start"] for row in first})
        yield (
            f"The first request after the server is ready takes at most {times(very)} as long as later requests "
            f"with the same recording, the first request of another length {times(others)} ({lengths} s; {starts} "
            "starts)."
        )
    if memory := speech.get("memory"):
        early, *later = memory["samples"]
        shortest, longest = memory["seconds"]
        low, high = (f(sample["mb"] for sample in later) for f in (min, max))
        yield (
            f"Memory of all server processes: at most {memory['load_peak_mb']:.0f} MB while loading,"
            f" {memory['ready_mb']:.0f} MB when ready; {early['mb']:.0f} MB after {early['requests']} mixed "
            f"requests ({shortest:g} to {longest:g} s, with and without frames), {low:.0f} to {high:.0f} MB after"
            f" {later[0]['requests']} to {later[-1]['requests']}."
        )
