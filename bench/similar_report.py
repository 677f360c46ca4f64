"""Writes the section about similar songs from similar.json."""

from __future__ import annotations

from bench.markdown import caption, fill, share, table
from bench.plots import Figures


def similar_section(results: Figures) -> str:
    """Return the section about similar songs: text, a table by the kind of version, and the caption."""
    found = results["similar"]
    failed = f"; the server rejected a version of {found['failed']} more" if found["failed"] else ""
    rate = found["hours"] * 3600 / found["bulk_seconds"]
    about = (
        f"Do embeddings find the other versions of a song? {found['songs']} songs ({found['about']}), each in four"
        " versions: the original, MP3 and Opus at 64 kbit/s, and its first half;"
        f" {found['hours']:.0f} h of sound in total{failed}. `tritone bulk --embedding` took"
        f" {found['bulk_seconds'] / 60:.0f} min ({rate:.0f} s of sound per second; `{found['system']}`,"
        f" {found['variant']}). For each file, `tritone similar` then ranked all other files (of"
        f" {4 * found['songs']}) by similarity."
    )
    rows = [
        {
            "version searched for": kind,
            "nearest file is the same song": share(shares["nearest"]),
            "nearest three are its other versions": share(shares["all"]),
        }
        for kind, shares in found["kinds"].items()
    ]
    return (
        "\n\n".join([fill(about), table(rows), caption(results, real="The music and the weights are real")]) + "\n"
    )
