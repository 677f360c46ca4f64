"""How often a song is found again by its embedding, as Markdown, made from similar.json alone."""

from __future__ import annotations

from bench.markdown import caption, fill, share, table
from bench.plots import Figures


def similar_section(results: Figures) -> str:
    """The section about similar songs: a table by the kind of version, and where and when."""
    found = results["similar"]
    failed = f"; {found['failed']} more had a version that the server refused" if found["failed"] else ""
    rate = found["hours"] * 3600 / found["bulk_seconds"]
    about = (
        f"Is a song found again by its embedding? {found['songs']} songs ({found['about']}), each in four"
        " versions: as it is, as MP3 and as Opus of 64 kbit/s, and its first half alone;"
        f" {found['hours']:.0f} h of sound in all{failed}. `tritone bulk --embedding` took"
        f" {found['bulk_seconds'] / 60:.0f} min ({rate:.0f} s of sound a second; `{found['system']}`,"
        f" {found['variant']}). Then the nearest of each file were looked for among all {4 * found['songs']}, as"
        " `tritone similar` does, itself left out."
    )
    rows = [
        {
            "looked for": kind,
            "the nearest is of the same song": share(shares["nearest"]),
            "the nearest three are its three others": share(shares["all"]),
        }
        for kind, shares in found["kinds"].items()
    ]
    return (
        "\n\n".join([fill(about), table(rows), caption(results, real="The music and the weights are real")]) + "\n"
    )
