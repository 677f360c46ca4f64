"""The lines of figures in README.md, made from bench.json and speech.json; docs/benchmarks.md has the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.errors import BenchError
from bench.markdown import fill, named, ratio, short, times
from bench.plots import Figures


def summary(figures: Mapping[str, Figures]) -> str:
    """A list of a line for each kind of figure.

    Parameters
    ----------
    figures : those of `bench`, and of `speech` where it was measured, by these names

    Raises
    ------
    BenchError
        bench.json has no comparison
    """
    bench, speech = figures["bench"], figures.get("speech")
    if "comparison" not in bench:
        raise BenchError("These figures contain no comparison: run make bench without --only")
    facts = [_throughput(bench["comparison"]), *_latency(bench)]
    if speech:
        facts.append(_speech(speech["speech"]))
    runs = [run for run in (bench, speech) if run]
    commands = "; ".join(f"`{run['command']}`, {run['date']}" for run in runs)
    weights = " and demo weights" if all(run.get("demo_weights", True) for run in runs) else ""
    facts.append(f"{commands}: {bench['machine']}; generated sound{weights}.")
    return "\n".join(fill(fact, "- ") for fact in facts) + "\n"


def _throughput(comparison: Figures) -> str:
    first, plain = comparison["rows"][0], named(comparison, "plain Triton")
    each = []
    for ours in (row for row in comparison["rows"] if row["name"].startswith("Tritone")):
        beside = f"{times(ratio(ours, first))} the pipeline of {first['name']}"
        beside += f" and {times(ratio(ours, plain))} a plain Triton" if plain else ""
        each.append(f"**{short(ours['rate'])} recordings/s** on `{_variant(ours)}`, {beside}")
    return f"`{comparison['model']}`, 30 s {comparison['format']} files: {'; '.join(each)}."


def _latency(bench: Figures) -> Iterator[str]:
    alone = [row for row in bench.get("sweep", []) if row["concurrency"] == 1]
    if alone and "repeat" in bench:
        yield (
            f"One request at a time takes {alone[0]['p50']:.0f} ms (median); a recording that the server has"
            f" answered before, {short(bench['repeat']['p50'])} ms, from the response cache."
        )


def _speech(speech: Figures) -> str:
    first, ours = speech["rows"][0], named(speech, "Tritone")
    assert ours is not None, "every comparison has our server"
    shortest, longest = speech["seconds"]
    return (
        f"`{speech['model']}`, utterances of {shortest:g} to {longest:g} s: **{short(ours['rate'])} recordings/s**"
        f" on `{_variant(ours)}`, {times(ratio(ours, first))} the pipeline of {first['name']}."
    )


def _variant(ours: Figures) -> str:
    return ours["name"].removeprefix("Tritone, ")
