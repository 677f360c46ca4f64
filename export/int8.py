"""`python -m export int8`: INT8 networks for CPUs, model.onnx -> model.int8.onnx, for variant `openvino_int8`.

The inputs and weights of every convolution and every product with weights are rounded to 8 bits, as QuantizeLinear
and DequantizeLinear in ONNX (QDQ). All scales are symmetric, so that TensorRT accepts the file, too; weights have
one per output channel. The products of attention, softmax, norms, GELU and biases stay in float, and so does the
output of a layer up to the next layer: rounding before a ReLU would spend half of the 8 bits on values that the
ReLU removes.

The scale of an activation minimises the squared error on generated sounds. With scales that represent the largest
value, ViT-B/16 kept 278 of 288 labels instead of 288, at a median difference in probability of 0.025 instead of
0.010; VGG19_BN kept 287 with both, at 0.008 and 0.006.

If the network does not agree with float, the layers with the largest loss stay in float: for musicnn its
convolutions over time, whose channels differ much in scale, but not those over the spectrogram, which are most of
its work.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export import command, derived
from export.errors import ExportError
from export.sources import Log
from systems import System
from systems.repository import Network

# Version of the quantisation. Increase it with every change that should replace the networks in use.
METHOD = 1
CALIBRATION_SEEDS = range(4000, 4002)
# First seed of the held-out sounds, which neither demo weights nor scales were fitted to.
HELD_OUT_SEED = 5000
HELD_OUT_ROWS = 256
# With fewer rows, 99 % cannot be distinguished from 100 %.
MIN_ROWS = 100
MIN_AGREEMENT = 0.99
OPERATORS = ("Conv", "Gemm", "MatMul")
BATCH = 4
# Values that are sampled from each activation in each batch.
SAMPLES = 4000
LEVELS = 127
# Scales to try, relative to the one that represents the largest value.
CANDIDATES = np.linspace(0.02, 1.0, 50)

Rows = npt.NDArray[np.float32]


def export(system: System, repository: Path, rows: int, *, force: bool, log: Log) -> bool:
    """Bring a system's INT8 network up to date with the float one beside it: see `derived.derive`.

    Parameters
    ----------
    rows : number of held-out rows on which both networks must agree
    """

    def make(network: Network, path: Path) -> derived.Description:
        import onnxruntime

        from export.demo import rows as generate  # imports PyTorch, which takes seconds

        log("preparing generated sounds")
        calibration = generate(system, CALIBRATION_SEEDS)[0]
        per_seed = len(calibration) // len(CALIBRATION_SEEDS)
        held_out = generate(system, range(HELD_OUT_SEED, HELD_OUT_SEED + math.ceil(rows / per_seed)))[0][:rows]
        log(f"measuring activations on {len(calibration)} rows")
        whole, precision = network.onnx.path, served_precision()
        bounds = limits(whole, calibration)
        expected = logits(whole.read_bytes(), held_out, "f32")
        left: list[str] = []

        def compared(quantised: bytes) -> dict[str, float]:
            log(f"comparing with float32 on {len(held_out)} rows")
            figures = derived.agreement(expected, logits(quantised, held_out, precision), system.activation)
            log(
                f"{derived.same(system.activation)} for {figures['agreement']:.2%},"
                f" difference in probability: median {figures['median_probability_difference']:.3f},"
                f" maximum {figures['max_probability_difference']:.3f}"
            )
            return figures

        quantised = quantise(whole, bounds)
        figures = compared(quantised)
        if not figures["agreement"] >= MIN_AGREEMENT:
            log("that is too little; rounding each layer alone, for those that lose most")
            left = lossy_layers(whole, bounds, calibration, precision, system.activation)
            log(f"in float: {', '.join(left)}")
            quantised = quantise(whole, bounds, left)
            figures = compared(quantised)
        if not figures["agreement"] >= MIN_AGREEMENT:
            raise ExportError(
                f"the INT8 network of {system.name} agrees with the float network about"
                f" {figures['agreement']:.2%} of {len(held_out)} rows ({derived.same(system.activation)}), at"
                f" least {MIN_AGREEMENT:.0%} is accepted; serve it in bfloat16 or float32 instead"
            )
        path.write_bytes(quantised)
        return {
            "calibration_rows": len(calibration),
            "held_out_rows": len(held_out),
            "layers_in_float": left,
            "runtime": f"openvino {version('openvino')}, int8 and {precision}",
            **figures,
            "versions": {"onnx": version("onnx"), "onnxruntime": onnxruntime.__version__},
        }

    return derived.derive(system, repository, "int8", lambda _: {"method": METHOD}, make, force=force, log=log)


def limits(path: Path, rows: Rows) -> dict[str, float]:
    """Return the largest magnitude that the 8 bits of each activation should represent.

    Parameters
    ----------
    path : float network
    rows : float32 [n, *shape of a row], prepared recordings

    Returns
    -------
    Name of each input of a convolution or a product with weights -> limit, above 0
    """
    import onnx
    import onnxruntime

    proto = onnx.load(path)
    (source,) = (tensor.name for tensor in proto.graph.input)
    names = list(dict.fromkeys(node.input[0] for node in _layers(proto)))
    inner = [name for name in names if name != source]
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of the added outputs, which have no shapes
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    largest = dict.fromkeys(names, 0.0)
    kept: dict[str, list[Rows]] = {name: [] for name in names}
    for batch in derived.batches(rows, BATCH):
        for name, values in zip([*inner, source], [*session.run(inner, {source: batch}), batch], strict=True):
            if name in largest:
                largest[name] = max(largest[name], float(np.abs(values).max()))
                kept[name].append(np.abs(values.reshape(-1)[rng.integers(0, values.size, SAMPLES)]))
    return {name: least_error_limit(np.concatenate(kept[name]), largest[name]) for name in names}


def least_error_limit(magnitudes: Rows, largest: float) -> float:
    """Return the limit c for which rounding to multiples of c / 127, up to c, has the least mean square error.

    Parameters
    ----------
    magnitudes : float32 [n], absolute values of samples
    largest : largest magnitude of all values
    """
    if not largest:
        return 1.0  # all inputs of the layer are zero

    def error(limit: float) -> float:
        scale = limit / LEVELS
        return float(((np.minimum(np.round(magnitudes / scale), LEVELS) * scale - magnitudes) ** 2).mean())

    return min((largest * part for part in CANDIDATES), key=error)


def lossy_layers(path: Path, limits: dict[str, float], rows: Rows, precision: str, activation: str) -> list[str]:
    """Return the names of the layers that must stay in float for the others to change no answer to these rows.

    Each layer is rounded alone, to rank the layers by the change of the probabilities. Then the worst ones stay in
    float, as many as necessary, but never all.

    Parameters
    ----------
    limits : limits of the activations, from `limits`
    rows : float32 [n, ...], the rows that the limits were measured on
    precision : as in `logits`
    activation : activation of the system
    """
    import onnx

    expected = logits(path.read_bytes(), rows, "f32")

    def compared(left: list[str]) -> dict[str, float]:
        return derived.agreement(expected, logits(quantise(path, limits, left), rows, precision), activation)

    names = [node.name for node in _layers(onnx.load(path))]
    losses = {
        name: compared([other for other in names if other != name])["mean_probability_difference"]
        for name in names
    }
    worst = sorted(names, key=losses.__getitem__, reverse=True)
    return next((worst[:n] for n in range(1, len(worst)) if compared(worst[:n])["agreement"] == 1), worst[:-1])


def quantise(path: Path, limits: dict[str, float], left: Sequence[str] = ()) -> bytes:
    """Return the network with 8 bits for all tensors in `limits` and for the weights that they multiply, as ONNX.

    Parameters
    ----------
    limits : tensor -> largest magnitude that its 8 bits represent
    left : names of layers that stay in float
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData

    proto = onnx.load(path)
    ranges = {name: (np.float32(-limit), np.float32(limit)) for name, limit in limits.items()}
    quantiser = QDQQuantizer(
        proto,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[node.name for node in _layers(proto) if node.name not in left],
        nodes_to_exclude=[],
        op_types_to_quantize=list(OPERATORS),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(OPERATORS),
        },
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    return quantiser.model.model.SerializeToString()


def logits(network: bytes, rows: Rows, precision: str) -> Rows:
    """Compute the logits with OpenVINO, float32 [n, classes].

    Parameters
    ----------
    precision : "f32" or "bf16", for all nodes that are not INT8
    """
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(network), "CPU", settings).create_infer_request()
    return np.concatenate([request.infer([batch])["LOGITS"].copy() for batch in derived.batches(rows, 8)])


def served_precision() -> str:
    """Return the precision of the server's OpenVINO backend on this machine for all but INT8: "f32" or "bf16"."""
    import openvino  # a machine that serves on a GPU may not have it

    return "bf16" if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def _layers(proto: Any) -> list[Any]:
    """Return the nodes that multiply by weights."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [node for node in proto.graph.node if node.op_type in OPERATORS and node.input[1] in weights]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 after an error that the user can fix."""
    parser = command.Parser(
        "int8",
        "Make INT8 networks of the exported ones, for python -m server --variant openvino_int8.",
    )
    parser.add_rows(HELD_OUT_ROWS, MIN_ROWS, f"{MIN_AGREEMENT:.0%}")
    args = parser.parse_args(arguments)
    return command.run(
        "export int8",
        parser.choose(args, "int8", "has no INT8 network"),
        lambda system, log: export(system, args.repository, args.rows, force=args.force, log=log),
        "the float network is untouched",
    )


if __name__ == "__main__":
    sys.exit(command.moved("int8"))
