"""`make evaluate`, or `python -m bench.evaluation`: measures what each option gains or loses.

Writes the generated sets of `bench.evaluation_sets`, starts the embedded server and classifies every recording
with every set of options below. Then it fits a temperature on half of the recordings and evaluates it on the other
half. Writes evaluation.json and evaluation.md to bench/results/; `python -m bench.report --publish
bench/results/evaluation.json` copies them to docs/options.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.progress import track
from tritone_client import Client, calibrate, evaluate, read_labelled
from tritone_client.evaluation.evaluate import Evaluation

from bench import evaluation_sets
from bench.__main__ import finish
from bench.errors import BenchError
from server.embedded import embedded
from server.installation import ROOT

SYSTEMS = ("vgg19_bn_cqt", "vit_b_16_mel")
SOFT = {"denoise_factor": 2.0, "denoise_floor": 0.01}
FIVE: dict[str, object] = {"segments": 5}
# Name -> options; the others are compared with the first.
OPTIONS: dict[str, dict[str, object]] = {
    "none": {},
    "crop=first": {"crop": "first"},
    "crop=middle": {"crop": "middle"},
    "segments=5": FIVE,
    "segments=5 voting=majority": FIVE | {"voting": "majority"},
    "voting=majority": {"voting": "majority"},
    "voting=confidence": {"voting": "confidence"},
    "skip_silence": {"skip_silence": True},
    "denoise=first": {"denoise": "first"},
    "denoise=first, factor 2, floor 0.01": {"denoise": "first", **SOFT},
    "denoise=quietest": {"denoise": "quietest"},
    "loudness=-23": {"loudness": -23},
    "compress": {"compress": True},
    "label_smoothing=0.05": {"label_smoothing": 0.05},
    "rules": {"rules": True},
    "denoise=first segments=5": FIVE | {"denoise": "first"},
}
QUICK = ("none", "crop=first", "segments=5", "denoise=first")
# Sent with all of them: changes no label and marks the answers that a person should review.
REVIEW = {"uncertainty": "entropy"}


def measure(system: str, variant: str, seeds: int, quick: bool) -> dict[str, Any]:
    """Evaluate one system; return its item of the entry `evaluation` of the figures."""
    names = QUICK if quick else tuple(OPTIONS)
    sets = {name: OPTIONS[name] | REVIEW for name in names}
    with tempfile.TemporaryDirectory(prefix="tritone-evaluation-") as folder:
        print(f"{system}: writing the recordings", flush=True)
        labelled = read_labelled(evaluation_sets.write(Path(folder), seeds))
        flags = (f"--systems={system}", f"--variant={variant}", "--cache-size=0", "--log-level=warning")
        with embedded(*flags) as server, Client(server.grpc, timeout=300) as client:
            found = evaluate(client, labelled, sets, system, progress=lambda jobs: track(jobs, system))
            temperature = calibrate(client, labelled, system)
            served = server.variant
    first = found["none"]
    if first.overall.failed:
        raise BenchError(
            f"{system} did not answer {first.overall.failed} of {first.overall.recordings} recordings"
        )
    return {
        "model": system,
        "variant": served,
        "seeds": seeds,
        "recordings": first.overall.recordings,
        "sets": {name: _scores(evaluation) for name, evaluation in found.items()},
        "calibration": {key: temperature.to_dict()[key] for key in ("fitted", "held_out")},
    }


def _scores(found: Evaluation) -> dict[str, Any]:
    """Return an evaluation without the results of single recordings."""
    entries = found.to_dict()
    return {key: entries[key] for key in ("options", "overall", "groups")}


def main() -> int:
    """Run the evaluation; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", default=SYSTEMS, help=f"default: {' '.join(SYSTEMS)}")
    parser.add_argument("--variant", default=os.environ.get("VARIANT", "auto"), help="as in python -m server")
    parser.add_argument("--seeds", type=int, default=2, help="recordings per group and family (%(default)s)")
    parser.add_argument(
        "--quick",
        action="store_true",
        default=bool(os.environ.get("QUICK")),
        help="one seed, four sets of options",
    )
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="default: %(default)s")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.systems if name not in SYSTEMS]:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(SYSTEMS)}")
    seeds = 1 if arguments.quick else arguments.seeds
    command = " ".join(["make evaluate", *(["QUICK=1"] if arguments.quick else [])])
    try:
        finish(
            lambda: {
                "evaluation": [
                    measure(name, arguments.variant, seeds, arguments.quick) for name in arguments.systems
                ]
            },
            arguments,
            command=command,
        )
    except (BenchError, RuntimeError) as error:
        print(f"bench.evaluation: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
