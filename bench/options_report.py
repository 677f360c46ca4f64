"""Writes the section about the cost of the options from costs.json."""

from __future__ import annotations

import json

from bench.markdown import caption, fill, short, table
from bench.plots import Figures


def options_section(results: Figures) -> str:
    """Return the section about costs: text, a table and the caption."""
    costs = results["costs"]
    without, seconds, long = costs["without"], costs["seconds"], costs["long_seconds"]
    ms, speech_ms = short(without["genre_ms"]), short(without["speech_ms"])
    about = (
        f"Cost of the options on one core, in ms per {seconds:g} s of sound, in addition to the {ms} ms that "
        f"preparing {seconds:g} s takes without options (`{costs['system']}`, MP3; speech: {speech_ms} ms). The "
        f"options that select parts are measured on {long:g} s; fewer rows save time in the network, which takes "
        "most of the time."
    )
    rows = [
        {
            "option": " ".join(f"`{key}={value}`" for key, value in _typed(each["options"]).items()),
            "ms": f"{each['genre_ms']:+.2f}",
            "ms, speech": f"{each['speech_ms']:+.2f}" if "speech_ms" in each else "",
            f"rows of {long:g} s": " to ".join(map(str, each["rows"])) if "rows" in each else "",
        }
        for each in costs["options"]
    ]
    rows += [
        {"option": f"`explain=1`, `{each['system']}`, on all cores", "ms": f"{each['ms']:+.0f}"}
        for each in costs["maps"]
    ]
    measured = caption(results)
    return "\n\n".join([fill(about), table(rows), measured]) + "\n"


def _typed(options: dict[str, object]) -> dict[str, str]:
    """Return options as users type them after -o."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in options.items()}
