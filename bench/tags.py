"""`make evaluate-music`: measures how disturbances change the tags of real music, and what options restore.

Excerpts of different songs (`bench.music`) are disturbed by `bench.disturbances` and classified with and without
the options for that disturbance. The music has no true labels; the reference is the same system's answer to the
undisturbed excerpt without options. Writes tags.json and tags.md to bench/results/; `python -m bench.report
--publish bench/results/tags.json` copies them to docs/options.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from scipy import signal
from tritone_client import Client

from bench import disturbances, music, tagging
from bench.__main__ import finish
from bench.disturbances import FLAC, MP3_16, MP3_32, NOISES, SR, TELEPHONE, Form, encoded
from bench.errors import BenchError
from bench.precision import TAGGERS, command
from server.embedded import embedded
from server.installation import ROOT
from sounds import Samples

EXCERPTS, SECONDS = 40, 60.0
IN_FLIGHT = 4
SILENCES = (15.0, 7.0, 7.0)  # seconds before, in the middle, after
# Noise level of every second silence, relative to full scale.
CONVERTER = 10 ** (-90 / 20)

Disturb = Callable[[Samples, int, np.random.Generator], tuple[Samples, Form]]


def _noise(y: Samples, number: int, rng: np.random.Generator, *, snr: float) -> tuple[Samples, Form]:
    return disturbances.noisy(y, NOISES[number % len(NOISES)], snr, rng), FLAC


def _clipping(y: Samples, number: int, rng: np.random.Generator, *, decibels: float) -> tuple[Samples, Form]:
    return disturbances.clipped(y, decibels), FLAC


def _quieter(y: Samples, number: int, rng: np.random.Generator) -> tuple[Samples, Form]:
    return y / np.float32(10), FLAC


def _few_bits(y: Samples, number: int, rng: np.random.Generator, *, form: Form) -> tuple[Samples, Form]:
    return disturbances.reduced(y, form), form


def _silence(y: Samples, number: int, rng: np.random.Generator) -> tuple[Samples, Form]:
    return disturbances.interrupted(y, len(y) // 2, SILENCES, CONVERTER * (number % 2), rng), FLAC


UNDISTURBED, NO_OPTION = "nothing", "none"
# Name -> function of (excerpt at `SR`, its number, random generator) that returns samples and their file format.
DISTURBANCES: dict[str, Disturb] = {
    UNDISTURBED: lambda y, number, rng: (y, FLAC),
    **{f"noise, {snr} dB": partial(_noise, snr=snr) for snr in (20, 10, 5, 0)},
    **{f"clipping, {decibels} dB": partial(_clipping, decibels=decibels) for decibels in (6, 12, 20)},
    "quieter, 20 dB": _quieter,
    "MP3, 32 kbit/s": partial(_few_bits, form=MP3_32),
    "MP3, 16 kbit/s": partial(_few_bits, form=MP3_16),
    "telephone": partial(_few_bits, form=TELEPHONE),
    "silence": _silence,
}
OPTIONS: dict[str, dict[str, Any]] = {
    NO_OPTION: {},
    "denoise=first": {"denoise": "first"},
    "denoise=quietest": {"denoise": "quietest"},
    "loudness=-23": {"loudness": -23},
    "compress": {"compress": True},
    "skip_silence": {"skip_silence": True},
    "segments=5": {"segments": 5},
    "crop=middle": {"crop": "middle"},
}
# Kind of disturbance (the first word of its name) -> the options that may improve the answer, or cost accuracy.
ASKED = {
    UNDISTURBED: tuple(OPTIONS),
    "noise": (NO_OPTION, "denoise=first", "denoise=quietest", "loudness=-23"),
    "clipping": (NO_OPTION, "loudness=-23", "compress"),
    "quieter": (NO_OPTION, "loudness=-23", "compress"),
    "MP3": (NO_OPTION,),
    "telephone": (NO_OPTION,),
    "silence": (NO_OPTION, "skip_silence", "segments=5", "crop=middle"),
}


def asked(disturbance: str) -> tuple[str, ...]:
    """Return the sets of options to measure for a disturbance."""
    return ASKED[disturbance.partition(",")[0]]


def measure(folder: Path, systems: Sequence[str], variant: str, excerpts: int) -> dict[str, Any]:
    """Measure the entry `tags` of the figures.

    Raises
    ------
    BenchError
        If there are too few songs.
    """
    chosen = music.choose(folder, excerpts, SECONDS)
    originals = [_excerpt(*each) for each in chosen]
    flags = (f"--systems={','.join(systems)}", f"--variant={variant}", "--cache-size=0", "--log-level=warning")
    found: dict[str, dict[tuple[str, str], tagging.Tags]] = {name: {} for name in systems}
    with (
        embedded(*flags) as server,
        Client(server.grpc, timeout=300) as client,
        ThreadPoolExecutor(IN_FLIGHT) as pool,
    ):
        for disturbance in track(DISTURBANCES, "tags"):
            recordings = disturbed(originals, disturbance)
            for system in systems:
                for option in asked(disturbance):
                    ask = partial(tagging.answer, client, system, **OPTIONS[option])
                    found[system][disturbance, option] = tagging.together(list(pool.map(ask, recordings)))
        served = server.variant
    return {
        "tags": {
            "excerpts": excerpts,
            "seconds": SECONDS,
            "variant": served,
            "packages": tagging.packages(song for song, _ in chosen),
            "systems": {name: figures(tags) for name, tags in found.items()},
        },
    }


def disturbed(originals: Sequence[Samples], disturbance: str) -> list[bytes]:
    """Disturb and encode excerpts; all disturbances of an excerpt use the same random numbers."""
    return [
        encoded(*DISTURBANCES[disturbance](y, number, np.random.default_rng(number)))
        for number, y in enumerate(originals)
    ]


def figures(found: dict[tuple[str, str], tagging.Tags]) -> dict[str, Any]:
    """Compare each answer with that to the undisturbed excerpts without options.

    Parameters
    ----------
    found : (disturbance, options) -> probabilities [excerpts, tags]

    Returns
    -------
    {"another": the same figures of another excerpt's answer, "disturbances": {disturbance: {options: figures}}}
    """
    reference = found[UNDISTURBED, NO_OPTION]
    compared: dict[str, dict[str, Any]] = {}
    for (disturbance, option), tags in found.items():
        compared.setdefault(disturbance, {})[option] = tagging.compare(reference, tags)
    another = tagging.compare(reference, np.roll(reference, 1, axis=0))
    return {"another": another, "disturbances": compared}


def _excerpt(song: Path, start: float) -> Samples:
    """Read an excerpt of a song, at `SR` and with a peak of 0.9."""
    y, sr = music.read(song, start, SECONDS)
    return disturbances.scaled(signal.resample_poly(y, SR, sr))


def main() -> int:
    """Measure and report; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.tags", description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", default=TAGGERS, help=f"default: {' '.join(TAGGERS)}")
    parser.add_argument("--variant", default=os.environ.get("VARIANT", "auto"), help="as in python -m server")
    parser.add_argument("--music", type=Path, default=music.FOLDER, help="folder of songs (default: %(default)s)")
    parser.add_argument("--excerpts", type=int, default=EXCERPTS, help="of different songs (%(default)s)")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="default: %(default)s")
    parser.set_defaults(quick=False)
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.systems if name not in TAGGERS]:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(TAGGERS)}")
    if arguments.excerpts < 2:
        parser.error(f"--excerpts must be at least 2, not {arguments.excerpts}")
    try:
        finish(
            lambda: measure(arguments.music, arguments.systems, arguments.variant, arguments.excerpts),
            arguments,
            command=command("bench.tags", arguments, EXCERPTS) or "make evaluate-music",
        )
    except (BenchError, RuntimeError) as error:
        print(f"bench.tags: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
