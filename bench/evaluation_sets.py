"""`python -m bench.evaluation_sets FOLDER`: writes generated recordings with labels, to evaluate the options.

Each group of recordings has one difficulty that an option addresses. Label i represents family i of `sounds`, as
for the demo weights: the sets show the effect of an option on a disturbed signal, but nothing about music. No
network was fitted, calibrated or accepted with any of these seeds.

| group                                | difficulty                                                           |
|--------------------------------------|----------------------------------------------------------------------|
| `clean`                              | none                                                                 |
| `noise-30`, `-20`, `-10`, `-5`, `-0` | white, pink or fan noise at this SNR in dB, also before the sound    |
| `clipping`                           | 6, 12 or 20 dB beyond full scale                                     |
| `low-bitrate`                        | MP3 of 32 or 16 kbit/s, or a telephone                               |
| `short`                              | 1 to 3 s                                                             |
| `mixture`                            | another family in the background, 3, 6 or 10 dB lower                |
| `medley`                             | 80 to 90 s: another family for nearly 30 s, and passages of two more |
| `silence`                            | 12 to 20 s of silence before, pauses of 6 to 9 s                     |
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.disturbances import (
    FLAC,
    MP3,
    MP3_16,
    MP3_32,
    NOISES,
    SR,
    TELEPHONE,
    WAV,
    Form,
    clipped,
    encoded,
    faded,
    interrupted,
    noisy,
    reduced,
    scaled,
)
from sounds import FAMILIES, Samples, sound
from systems.label_set import label_set, named

SECONDS = 30.0
FIRST_SEED = 6000
LABEL_SETS = tuple(name for name in named() if len(label_set(name)) == len(FAMILIES))


Grade = TypeVar("Grade")
Group = Callable[[int, int, np.random.Generator], tuple[Samples, Form]]


def write(folder: Path, seeds: int, labels: str = "ccmusic", groups: Iterable[str] | None = None) -> Path:
    """Write the recordings, and labels.csv (file, label, group); the same arguments write the same bytes.

    Parameters
    ----------
    folder : gets a folder per group; made where it is missing
    seeds : recordings of each group and family
    labels : name of a label set of 16, whose label i is given to family i
    groups : of `GROUPS` (None: all)

    Returns
    -------
    the path of labels.csv
    """
    table = folder / "labels.csv"
    lines = []
    for group in groups or GROUPS:
        (folder / group).mkdir(parents=True, exist_ok=True)
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            for family, name in enumerate(FAMILIES):
                data, suffix = recording(group, family, seed)
                file = Path(group, f"{name.replace(' ', '-')}-{seed}{suffix}")
                (folder / file).write_bytes(data)
                lines.append((file.as_posix(), label_set(labels).labels[family].en, group))
    with table.open("w", encoding="utf-8", newline="") as written:
        csv.writer(written).writerows([("file", "label", "group"), *lines])
    return table


def recording(group: str, family: int, seed: int) -> tuple[bytes, str]:
    """One recording of a group: the file and its suffix."""
    samples, form = GROUPS[group](family, seed, np.random.default_rng([family, seed]))
    return encoded(samples, form), form.suffix


def _clean(family: int, seed: int, rng: np.random.Generator) -> tuple[Samples, Form]:
    return sound(family, seed, seconds=SECONDS, sr=SR), MP3


def _noisy(family: int, seed: int, rng: np.random.Generator, *, snr: float) -> tuple[Samples, Form]:
    """Use the same noise for all levels of a sound."""
    y = sound(family, seed, seconds=SECONDS, sr=SR)
    return noisy(y, _cycled(NOISES, family, seed), snr, rng), MP3


def _clipped(family: int, seed: int, rng: np.random.Generator) -> tuple[Samples, Form]:
    y = sound(family, seed, seconds=SECONDS, sr=SR)
    return clipped(y, _cycled((6, 12, 20), family, seed)), FLAC


def _low_bitrate(family: int, seed: int, rng: np.random.Generator) -> tuple[Samples, Form]:
    form = _cycled((MP3_32, MP3_16, TELEPHONE), family, seed)
    return reduced(sound(family, seed, seconds=SECONDS, sr=SR), form), form


def _short(family: int, seed: int, rng: np.random.Generator) -> tuple[Samples, Form]:
    return sound(family, seed, seconds=rng.uniform(1, 3), sr=SR), WAV


def _mixture(family: int, seed: int, rng: np.random.Generator) -> tuple[Samples, Form]:
    y, other = (sound(which, seed, seconds=SECONDS, sr=SR) for which in (family, *_others(family, rng, 1)))
    below = _cycled((3, 6, 10), family, seed)
    return scaled(y + np.float32(_rms(y) / _rms(other) / 10 ** (below / 20)) * other), FLAC


def _medley(family: int, seed: int, rng: np.random.Generator) -> tuple[Samples, Form]:
    """Join introduction, family, passage, family, passage, family; the family takes at least half of the time."""
    introduction, first, second = _others(family, rng, 3)
    total, before, *passages = (rng.uniform(low, high) for low, high in ((80, 90), (27, 30), (3, 5), (3, 5)))
    main = total - before - sum(passages)
    shares = rng.dirichlet((8, 8, 8)) * main
    pieces = [
        *((introduction, before), (family, shares[0]), (first, passages[0])),
        *((family, shares[1]), (second, passages[1]), (family, shares[2])),
    ]
    sounds = (sound(which, seed, seconds=seconds, sr=SR) for which, seconds in pieces)
    return np.concatenate([faded(scaled(y)) for y in sounds]), MP3


def _silence(family: int, seed: int, rng: np.random.Generator) -> tuple[Samples, Form]:
    """Insert silence: in every second recording converter noise 90 dB below full scale, in the others zeros."""
    silences = (rng.uniform(12, 20), rng.uniform(6, 9), rng.uniform(6, 9))
    lengths = rng.uniform(8, 10, 2)
    y = sound(family, seed, seconds=lengths.sum(), sr=SR)
    floor = _cycled((0, 10 ** (-90 / 20)), family, seed)
    return interrupted(y, round(lengths[0] * SR), silences, floor, rng), FLAC


def _rms(y: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(y, dtype=np.float64))))


def _cycled(grades: Sequence[Grade], family: int, seed: int) -> Grade:
    """Cycle through grades over families and seeds."""
    return grades[(family + seed) % len(grades)]


def _others(family: int, rng: np.random.Generator, n: int) -> list[int]:
    """Return n different other families."""
    return rng.permutation(np.delete(np.arange(len(FAMILIES)), family))[:n].tolist()


# Name -> function of (family, seed, random generator) that returns samples, float32 [n], and their file format.
GROUPS: dict[str, Group] = {
    "clean": _clean,
    **{f"noise-{snr}": partial(_noisy, snr=snr) for snr in (30, 20, 10, 5, 0)},
    "clipping": _clipped,
    "low-bitrate": _low_bitrate,
    "short": _short,
    "mixture": _mixture,
    "medley": _medley,
    "silence": _silence,
}


def main() -> int:
    """Write the sets; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.evaluation_sets", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder for the recordings and labels.csv")
    parser.add_argument(
        "--seeds", type=int, default=2, help="recordings per group and family (default: %(default)s)"
    )
    parser.add_argument("--labels", choices=LABEL_SETS, default="ccmusic", help="default: %(default)s")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, metavar="GROUP", help="default: all")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error(f"--seeds must be at least 1, not {arguments.seeds}")
    table = write(arguments.folder, arguments.seeds, arguments.labels, arguments.groups)
    recordings = len(arguments.groups or GROUPS) * arguments.seeds * len(FAMILIES)
    print(f"{recordings} recordings; their labels are in {table}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
