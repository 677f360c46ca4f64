"""`python -m sounds.examples FOLDER`: writes synthetic recordings for the web page, unless they exist."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import soundfile as sf

from sounds.generate import FAMILIES, sound
from sounds.prelude import prelude
from sounds.recordings import SUBTYPES, recording

SR = 44100
CALL_SR = 16000
PRELUDE_SR = 22050


def main() -> int:
    """Write the missing files; return the exit code."""
    for name in EXAMPLES:
        written(name, Path(sys.argv[1]))
    return 0


def written(name: str, folder: Path) -> Path:
    """Return the path of an example in a folder, and write the file if it is missing."""
    path, unfinished = folder / name, folder / f".{name}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(EXAMPLES[name]())
        unfinished.rename(path)
    return path


def joined(parts: list[tuple[str, float]], kind: str, sr: int) -> bytes:
    """Join sounds, given as (family, seconds), one after the other in mono."""
    names = list(FAMILIES)
    samples = [sound(names.index(name), 2027 + k, seconds=s, sr=sr) for k, (name, s) in enumerate(parts)]
    file = io.BytesIO()
    sf.write(file, np.concatenate(samples), sr, format=kind, subtype=SUBTYPES[kind])
    return file.getvalue()


def music() -> bytes:
    """Return the prelude as MP3."""
    file = io.BytesIO()
    sf.write(file, prelude(PRELUDE_SR), PRELUDE_SR, format="MP3", subtype=SUBTYPES["MP3"])
    return file.getvalue()


# File name -> function that returns its content.
EXAMPLES = {
    "prelude.mp3": music,
    "arpeggio.mp3": lambda: recording(list(FAMILIES).index("arpeggio"), seed=2027),
    "medley of 3 minutes.mp3": lambda: joined(
        [("organ", 48.0), ("kick and hat", 42.0), ("bells", 54.0), ("bass line", 36.0)], "MP3", SR
    ),
    "call.wav": lambda: joined([("tremolo", 6.0), ("organ", 5.0), ("kick and hat", 7.0)], "WAV", CALL_SR),
}


if __name__ == "__main__":
    sys.exit(main())
