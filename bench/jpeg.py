"""`python -m bench.jpeg`: measures the effect and the cost of the JPEG round trip in profile ccmusic.

Prepares generated sounds with and without it, runs the exported networks in ONNX Runtime, and prints the changes
of images and probabilities, and the time.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import onnxruntime

from answers.activation import softmax
from bench.machine import machine
from preprocess import prepare
from server.installation import ROOT
from sounds import FAMILIES, sound
from systems.repository import Repository

SEEDS = (3000, 3001)
SPECTRUM = {"vgg19_bn_cqt": "cqt", "vit_b_16_mel": "mel"}


def main() -> int:
    """Print one line per exported system."""
    print(machine())
    for system, spectrum in SPECTRUM.items():
        model = Repository(ROOT / "model_repository").network(system).onnx.path
        if not model.exists():
            print(f"{system} has no weights: run make export", file=sys.stderr)
            return 2
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        seconds, levels, moved, agreed = {True: 0.0, False: 0.0}, [], [], []
        for recording in ((sound(family, seed), 22050) for seed in SEEDS for family in range(len(FAMILIES))):
            rows, probabilities = {}, {}
            for jpeg in (True, False):
                start = time.perf_counter()
                rows[jpeg] = prepare(recording, spectrum=spectrum, jpeg=jpeg).rows
                seconds[jpeg] += time.perf_counter() - start
                probabilities[jpeg] = softmax(session.run(["LOGITS"], {"ROWS": rows[jpeg]})[0])
            levels.append(np.abs(rows[True] - rows[False]).mean() * 127.5)
            moved.append(np.abs(probabilities[True] - probabilities[False]).max())
            agreed += (probabilities[True].argmax(1) == probabilities[False].argmax(1)).tolist()
        cost = (seconds[True] - seconds[False]) / len(agreed) * 1e3
        print(
            f"{system}: {len(agreed)} slices, {np.mean(levels):.2f} of 255 levels on average, same label"
            f" {np.mean(agreed):.1%}, change of probability: median {np.median(moved):.3f},"
            f" maximum {max(moved):.3f}; {cost:.1f} ms per slice"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
