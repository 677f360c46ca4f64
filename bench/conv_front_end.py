"""`python -m bench.conv_front_end`: what two design choices of the speech network gain here, in OpenVINO.

Compares its seven convolutions, written as products with the channels last, with PyTorch's Conv1d between
transposed norms; and rows whose tokens fill the blocks of the matrix kernels with rows of two more tokens. The
runs alternate. Needs the exported network of emotion2vec_plus_large.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from torch import Tensor
from torch.nn import functional

from bench.baselines.network import load_network
from bench.ideal import load_network as compile_network
from bench.markdown import table
from export import emotion2vec, onnx_export
from server.installation import ROOT
from systems import SYSTEMS
from systems.lengths import TOKENS, samples_of
from systems.repository import Repository
from systems.variants import ONNX_FILE

SYSTEM = "emotion2vec_plus_large"
LENGTHS = (160, 256, 512)  # tokens
MORE = 2
REPEATS = 9


def transposed(layer: emotion2vec.ConvLayer, x: Tensor) -> Tensor:
    """Compute the layer as the released code does."""
    y = layer.get_submodule("0")(x.transpose(1, 2)).transpose(1, 2)
    return functional.gelu(layer.get_submodule("2")(y))


def main() -> None:
    """Export the network with Conv1d, run both alternately and print a table of medians."""
    repository = ROOT / "model_repository"
    with tempfile.TemporaryDirectory(prefix="tritone-bench-") as folder:
        with mock.patch.object(emotion2vec.ConvLayer, "forward", transposed):
            model = load_network(SYSTEM, repository)
            onnx_export.to_onnx(model, onnx_export.graph_of(SYSTEMS[SYSTEM]), Path(folder) / ONNX_FILE)
        ours, conv1d = (
            compile_network(path, "openvino")
            for path in (Repository(repository).network(SYSTEM).folder, Path(folder))
        )
    rows = []
    for tokens in LENGTHS:
        wav = {
            n: np.random.default_rng(0).standard_normal((1, samples_of(n - TOKENS)), np.float32)
            for n in (tokens, tokens + MORE)
        }
        runs = {
            "Conv1d": (conv1d, tokens),
            "channels last": (ours, tokens),
            f"{MORE} tokens more": (ours, tokens + MORE),
        }
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(1 + REPEATS):
            for name, (network, n) in runs.items():
                start = time.perf_counter()
                network(wav[n], np.array([[wav[n].shape[1]]]))
                taken[name].append((time.perf_counter() - start) * 1e3)
        median = {name: statistics.median(ms[1:]) for name, ms in taken.items()}
        rows.append(
            {"tokens": str(tokens)}
            | {f"{name}, ms": f"{ms:.0f}" for name, ms in median.items()}
            | {"less than Conv1d": f"{1 - median['channels last'] / median['Conv1d']:.0%}"}
        )
    print(table(rows))


if __name__ == "__main__":
    main()
