"""`python -m export fp16`: FP16 networks for variants `tensorrt` and `cuda`, model.onnx -> model.fp16.onnx.

TensorRT 11 reads the precision of every layer from the graph, so the graph states it: products with weights and
the nodes between them are float16, with casts at the borders. Inputs and outputs stay float32, and so do the nodes
for which float16 has too little precision or range:

* norms, softmax, sums over frames, and terms that are added to attention scores;
* everything after the last norm: the head, and outputs besides the classes (VGG19_BN has no norm: its head, four
  fifths of its weights, is float16 as well);
* nodes with an input or output beyond half of float16's range on generated sounds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from export import command, derived
from export.errors import ExportError
from export.onnx_float16 import convert, float16_nodes, logits, magnitudes
from export.sources import Log
from systems import System
from systems.repository import Network, export_command

# Version of the conversion. Increase it with every change that should replace the networks in use.
METHOD = 1
ACTIVATION_SEED = 4000
ACTIVATION_ROWS = 48
# First seed of the held-out sounds, which no demo weights were fitted to.
HELD_OUT_SEED = 5000
# With fewer rows, 99.9 % cannot be distinguished from 100 %.
HELD_OUT_ROWS = 1000
MIN_AGREEMENT = 0.999
# For trials: with fewer than 1000 rows, all must agree.
MIN_ROWS = 100
# Two labels whose probabilities differ by less than this may swap places: weights for real recordings may be
# undecided about many of these synthetic sounds.
TIE = 0.01
# Activation -> what `derived.clear_changes` counts, for messages.
OTHERWISE = {
    "softmax": f"another label than the float32 network, which preferred its own by more than {TIE:.0%}",
    "sigmoid": f"a probability that differs from that of the float32 network by more than {TIE}",
}
INSTEAD = "build its plan in float32 instead: PRECISION=fp32 {}"


def export(system: System, repository: Path, rows: int, *, force: bool, log: Log) -> bool:
    """Bring a system's FP16 network up to date with the float32 one beside it: see `derived.derive`.

    Parameters
    ----------
    rows : number of generated rows for the comparison of both networks
    """

    def make(network: Network, path: Path) -> derived.Description:
        proto = onnx.shape_inference.infer_shapes(onnx.load(network.onnx.path))
        log(f"measuring activations on {ACTIVATION_ROWS} rows")
        wanted = float16_nodes(proto, {})
        activations = derived.generated(system, ACTIVATION_SEED, ACTIVATION_ROWS)
        largest = magnitudes(proto, wanted, activations)
        chosen = float16_nodes(proto, largest)
        half = convert(proto, chosen)
        log(f"{len(chosen)} of {len(proto.graph.node)} nodes in float16, {half.ByteSize() / 1e6:.0f} MB")
        log(f"comparing with float32 on {rows} rows")
        held_out = derived.generated(system, HELD_OUT_SEED, rows)
        float32, float16 = logits(proto, held_out), logits(half, held_out)
        instead = INSTEAD.format(export_command("tensorrt", system.name))
        overflown = int((~np.isfinite(float16)).any(1).sum())
        if overflown:
            raise ExportError(
                f"the FP16 network of {system.name} overflows on {overflown} of {rows} rows; {instead}"
            )
        figures = derived.agreement(float32, float16, system.activation)
        log(
            f"{derived.same(system.activation)} for {figures['agreement']:.2%},"
            f" difference in probability: median {figures['median_probability_difference']:.1e},"
            f" maximum {figures['max_probability_difference']:.1e}"
        )
        changed = derived.clear_changes(float32, float16, TIE, system.activation)
        if changed > rows * (1 - MIN_AGREEMENT):
            raise ExportError(
                f"the FP16 network of {system.name} gives {changed} of {rows} rows {OTHERWISE[system.activation]};"
                f" at most {1 - MIN_AGREEMENT:.1%} are accepted; {instead}"
            )
        path.write_bytes(half.SerializeToString())
        return {
            "nodes": len(proto.graph.node),
            "nodes_in_float16": len(chosen),
            "too_large_for_float16": sorted(wanted - chosen),
            "largest_activation_in_float16": max((largest.get(name, 0.0) for name in chosen), default=0.0),
            "activation_rows": ACTIVATION_ROWS,
            "held_out_rows": rows,
            "runtime": f"onnxruntime {onnxruntime.__version__}, rounding every value",
            **figures,
            "clear_changes": changed,
            "versions": {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
        }

    return derived.derive(system, repository, "fp16", lambda _: {"method": METHOD}, make, force=force, log=log)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 after an error that the user can fix."""
    parser = command.Parser(
        "fp16",
        "Convert the exported networks to FP16, for GPUs: python -m export tensorrt and variant cuda use them.",
    )
    parser.add_rows(HELD_OUT_ROWS, MIN_ROWS, "small errors")
    args = parser.parse_args(arguments)
    return command.run(
        "export fp16",
        parser.choose(args, "fp16"),
        lambda system, log: export(system, args.repository, args.rows, force=args.force, log=log),
        "the float32 network is unchanged",
    )


if __name__ == "__main__":
    sys.exit(command.moved("fp16"))
