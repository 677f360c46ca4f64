"""`python -m bench.precision`: measures the effect of lower precisions on tags of real music, in about 10 minutes.

The taggers with trained weights classify excerpts of different songs (`bench.music`) in the embedded server, in
float32 and in every other precision that this machine supports. FP16, which the server runs on GPUs only, is
emulated by rounding every value of the FP16 network. Writes precision.json and precision.md to bench/results/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from scipy.special import expit
from tritone_client import Client

from bench import music, tagging
from bench.__main__ import finish
from bench.errors import BenchError
from export import onnx_float16
from export.int8 import served_precision
from preprocess import prepare
from server.embedded import embedded
from server.installation import ROOT
from systems import SYSTEMS, System
from systems.repository import Repository
from systems.variants import FP16_FILE

TAGGERS = tuple(name for name, system in SYSTEMS.items() if system.activation == "sigmoid" and system.released)
REPOSITORY = ROOT / "model_repository"
REFERENCE = "onnxruntime"
VARIANTS = (REFERENCE, "openvino", "openvino_int8")
EXCERPTS, SECONDS = 60, 30.0
FP16 = "FP16"


def measure(folder: Path, systems: Sequence[str], excerpts: int) -> dict[str, Any]:
    """Measure the entry `precision` of the figures.

    Raises
    ------
    BenchError
        If there are too few songs, or a network is missing.
    """
    for name in systems:
        network = Repository(REPOSITORY).network(name)
        for product in (network.onnx, network.int8, network.fp16):
            if product.why_not:
                raise BenchError(product.why_not)
    chosen = music.choose(folder, excerpts, SECONDS)
    recordings = [tagging.as_flac(*music.read(song, start, SECONDS)) for song, start in chosen]
    found: dict[str, dict[str, tagging.Tags]] = {name: {} for name in systems}
    for variant in VARIANTS:
        print(f"{variant}: {len(recordings)} excerpts", flush=True)
        flags = (f"--systems={','.join(systems)}", f"--variant={variant}", "--cache-size=0", "--log-level=warning")
        with embedded(*flags) as server, Client(server.grpc, timeout=300) as client:
            for name in systems:
                found[name][variant] = tagging.together(
                    [tagging.answer(client, name, data) for data in recordings]
                )
    for name in systems:
        print(f"{FP16}: {name}", flush=True)
        found[name][FP16] = half(SYSTEMS[name], recordings)
    return {
        "real_music": True,
        "precision": {
            "excerpts": excerpts,
            "seconds": SECONDS,
            "packages": tagging.packages(song for song, _ in chosen),
            "bf16": served_precision() == "bf16",
            "systems": {
                name: {
                    other: tagging.compare(tags[REFERENCE], tags[other]) for other in tags if other != REFERENCE
                }
                for name, tags in found.items()
            },
        },
    }


def half(system: System, recordings: Sequence[bytes]) -> tagging.Tags:
    """Compute the tags with the FP16 network, with the server's preparation and mean over the patches."""
    folder = Repository(REPOSITORY).network(system.name).folder
    network = onnx.load(folder / FP16_FILE)
    rows = [
        prepare(data, system.profile, spectrum=system.spectrum, max_rows=system.max_batch_size).rows
        for data in recordings
    ]
    logits = onnx_float16.logits(network, [[each] for each in rows])
    ends = np.cumsum([len(each) for each in rows])[:-1]
    return np.stack([expit(each.astype(np.float64)).mean(axis=0) for each in np.split(logits, ends)])


def command(module: str, arguments: argparse.Namespace, excerpts: int) -> str:
    """Return the command that reproduces the figures; empty if only defaults (and --music) were used."""
    more = [] if tuple(arguments.systems) == TAGGERS else list(arguments.systems)
    more += [f"--excerpts={arguments.excerpts}"] if arguments.excerpts != excerpts else []
    return f"python -m {module} {' '.join(more)}" if more else ""


def main() -> int:
    """Measure and report; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.precision", description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", default=TAGGERS, help=f"default: {' '.join(TAGGERS)}")
    parser.add_argument("--music", type=Path, default=music.FOLDER, help="folder of songs (default: %(default)s)")
    parser.add_argument("--excerpts", type=int, default=EXCERPTS, help="of different songs (%(default)s)")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="default: %(default)s")
    parser.set_defaults(quick=False)
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.systems if name not in TAGGERS]:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(TAGGERS)}")
    if arguments.excerpts < 1:
        parser.error(f"--excerpts must be at least 1, not {arguments.excerpts}")
    try:
        finish(
            lambda: measure(arguments.music, arguments.systems, arguments.excerpts),
            arguments,
            command=command("bench.precision", arguments, EXCERPTS) or "python -m bench.precision",
        )
    except (BenchError, RuntimeError) as error:
        print(f"bench.precision: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
