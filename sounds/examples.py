"""`python -m sounds.examples FOLDER`: writes the recordings that the commands in README.md and docs/ name.

All are generated. `song.mp3` is a prelude by Bach, `medley.mp3` has four parts in 3 minutes, `call.wav` is a
synthetic voice, `songs/` has six short songs, `labelled/` has sounds for `tritone evaluate` in a folder for each
label, and `notes.txt` is what somebody might send by mistake. Files that exist are not written again.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

from sounds.generate import FAMILIES, sound
from sounds.prelude import prelude
from sounds.recordings import SUBTYPES, recording
from sounds.voice import voice
from systems import SYSTEMS

SR = 22050
CALL_SR = 16000
SEED = 2027
SONG_SECONDS = 20.0
SONGS = ("arpeggio", "bells", "kick and hat", "organ", "plucked strings", "sustained chord")
MEDLEY = {"organ": 48.0, "kick and hat": 42.0, "bells": 54.0, "bass line": 36.0}  # family -> seconds
LABELLED = (1, 2, 8, 14)  # families whose sounds `labelled/` has, under the labels that the demo weights give them
EACH = 4  # sounds of each label; `tritone calibrate` needs at least 10 in all
LABELLED_SECONDS = 12.0  # a slice of the genre systems has 11.4


def main() -> int:
    """Write the missing files; return the exit code."""
    write_all(Path(sys.argv[1]))
    return 0


def write_all(folder: Path) -> None:
    """Write the missing files, which takes seconds, and print what is being written."""
    missing = [name for name in EXAMPLES if not (folder / name).exists()]
    if not missing:
        return
    print(f"Writing recordings to try in {folder}/:", end="", flush=True)
    last = ""
    for name in missing:
        top = f"{name.split('/')[0]}/" if "/" in name else name
        if top != last:
            print(f" {top}", end="", flush=True)
        last = top
        written(name, folder)
    print(flush=True)


def written(name: str, folder: Path) -> Path:
    """Return the path of an example in a folder, and write the file if it is missing."""
    path = folder / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}")
        unfinished.write_bytes(EXAMPLES[name]())
        unfinished.rename(path)
    return path


def encoded(samples: npt.NDArray[np.float32], kind: str, sr: int = SR) -> bytes:
    """Return mono samples as a file."""
    file = io.BytesIO()
    sf.write(file, samples, sr, format=kind, subtype=SUBTYPES[kind])
    return file.getvalue()


def medley() -> bytes:
    """Return sounds of several families, one after the other, as MP3."""
    parts = MEDLEY.items()
    samples = [sound(number(name), SEED + k, seconds=seconds, sr=SR) for k, (name, seconds) in enumerate(parts)]
    return encoded(np.concatenate(samples), "MP3")


def number(family: str) -> int:
    """Return the index of a family, which is that of its output of the demo weights."""
    return list(FAMILIES).index(family)


def short(family: int, seed: int, seconds: float) -> bytes:
    """Return a sound of a family as MP3."""
    return recording(family, seed, seconds=seconds, sr=SR, channels=1)


def labelled() -> dict[str, Callable[[], bytes]]:
    """Return the files of `labelled/`."""
    labels = SYSTEMS["vgg19_bn_cqt"].labels.labels
    return {
        f"labelled/{labels[family].en}/{k}.mp3": partial(short, family, SEED + k, LABELLED_SECONDS)
        for family in LABELLED
        for k in range(EACH)
    }


# File name -> function that returns its content.
EXAMPLES: dict[str, Callable[[], bytes]] = {
    "song.mp3": lambda: encoded(prelude(SR), "MP3"),
    "medley.mp3": medley,
    "call.wav": lambda: encoded(voice(CALL_SR), "WAV", CALL_SR),
    "notes.txt": lambda: b"These notes are not a recording: the server rejects them.\n",
    **{f"songs/{name}.mp3": partial(short, number(name), SEED, SONG_SECONDS) for name in SONGS},
    **labelled(),
}


if __name__ == "__main__":
    sys.exit(main())
