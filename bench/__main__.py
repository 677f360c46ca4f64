"""`make bench`: compares Tritone with the articles' pipelines and a plain Triton, and measures its stages.

Unless stated otherwise, all recordings are generated, distinct, stereo at 44 100 Hz and 30 s long. The response
cache is off, except for repeated recordings. Writes bench.json, plots and summary.md to bench/results/ and, for
the speech system (not with QUICK), speech.json and speech.md; with DEVICE=cuda it writes gpu.json and gpu.md
instead.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

from bench.baselines import BaselineError
from bench.errors import BenchError
from bench.machine import machine, versions
from bench.report import part, write_report
from bench.speech import SpeechSuite
from bench.suite import Scale, Suite
from server.installation import ROOT

DEVICES = ("cpu", "cuda")

QUICK = Scale(
    recordings=8, rounds=2, window=0.8, concurrencies=(1, 8), loads=(), repeats=10, requests=0, kernels=2
)
FULL = Scale(
    recordings=16,
    rounds=3,
    window=4.0,
    concurrencies=(1, 2, 4, 8, 16),
    loads=(0.5, 0.7, 0.85),
    repeats=50,
    requests=2000,
    kernels=6,
)


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--variant",
        default=os.environ.get("VARIANT", "auto"),
        help="as in python -m server (default: %(default)s)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        default=bool(os.environ.get("QUICK")),
        help="finish in under 90 s: fewer recordings, only vgg19_bn_cqt with profile article-a",
    )
    parser.add_argument("--only", choices=("genres", "speech"), help="measure only these systems")
    parser.add_argument(
        "--results",
        type=Path,
        default=ROOT / "bench" / "results",
        help="folder for the figures (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        default=os.environ.get("DEVICE") or "cpu",
        help="cuda: measure the networks, article A and Tritone on the GPU (default: %(default)s)",
    )
    parser.add_argument(
        "--systems",
        nargs="+",
        metavar="SYSTEM",
        help="with --device cuda: systems whose networks are measured (default: the two of the articles)",
    )
    parser.add_argument(
        "--batches", nargs="+", type=int, metavar="N", help="with --device cuda: batch sizes of the networks"
    )
    arguments = parser.parse_args()
    if arguments.device not in DEVICES:
        parser.error(f"--device is {arguments.device!r}, not one of {', '.join(DEVICES)}")
    if (arguments.systems or arguments.batches) and arguments.device != "cuda":
        parser.error("--systems and --batches need --device cuda")
    if arguments.only and arguments.device == "cuda":
        parser.error("--only cannot be combined with --device cuda, which measures the genre systems")
    quick, scale = arguments.quick, QUICK if arguments.quick else FULL
    try:
        if arguments.device == "cuda":
            from bench import gpu as on_gpu  # imports PyTorch

            gpu = on_gpu.check_gpu()
            systems = arguments.systems or ((on_gpu.VGG,) if quick else (on_gpu.VGG, on_gpu.VIT))
            on_gpu.check_systems(systems)
            batches = arguments.batches or (on_gpu.QUICK_BATCHES if quick else on_gpu.BATCHES)
            with tempfile.TemporaryDirectory(prefix="tritone-bench-") as folder:
                gpu_suite = on_gpu.GpuSuite(
                    scale,
                    arguments.variant,
                    Path(folder),
                    systems=systems,
                    batches=batches,
                    rounds=1 if quick else scale.rounds,
                )
                finish(gpu_suite.run, arguments, made_by(arguments), f"; {gpu.name}, driver {gpu.driver}")
            return 0
        if arguments.only != "speech":
            with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="tritone-bench-") as folder:
                suite = Suite(scale, arguments.variant, Path(folder), stack, quick=quick)
                finish(suite.run, arguments, made_by(arguments))
        if arguments.only == "speech" or not (quick or arguments.only):
            with tempfile.TemporaryDirectory(prefix="tritone-bench-") as folder:
                finish(SpeechSuite(scale, arguments.variant, Path(folder)).run, arguments, made_by(arguments))
    except (BenchError, BaselineError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0


def made_by(arguments: argparse.Namespace) -> str:
    """Return the command that reproduces the figures."""
    if arguments.only:
        return f"python -m bench --only {arguments.only}{' --quick' if arguments.quick else ''}"
    cuda = " DEVICE=cuda" if arguments.device == "cuda" else ""
    return f"make bench{cuda}{' QUICK=1' if arguments.quick else ''}"


def finish(measure: Callable[[], dict], arguments: argparse.Namespace, command: str, gpu: str = "") -> None:
    """Measure one part, and write its figures and its report with the command, the machine and the versions."""
    start = time.monotonic()
    figures = measure()
    results = {
        "command": command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "quick": arguments.quick,
        "seconds": time.monotonic() - start,
        "machine": machine() + gpu,
        "versions": {"python": platform.python_version(), "triton": "2.51.0"} | versions(),
        **figures,
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / f"{part(results)}.json").write_text(json.dumps(results, indent=1) + "\n")
    print("\n" + write_report(results, arguments.results))
    print(f"\nTook {results['seconds']:.0f} s; figures, plots and this summary are in {arguments.results}")


if __name__ == "__main__":
    sys.exit(main())
