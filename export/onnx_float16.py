"""Converts nodes of an ONNX network to float16: selects them, inserts casts, and emulates the result on CPUs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from export.inputs import Feeds

# Half of the largest float16, so that recordings louder than the measured ones do not overflow either.
MAX_FLOAT16_VALUE = 32768.0
PRODUCTS = ("Conv", "Gemm", "MatMul")
NORMS = ("LayerNormalization",)
ALWAYS_FLOAT32 = (*NORMS, "Softmax", "ReduceSum", "Cast")


def float16_nodes(proto: onnx.ModelProto, largest: dict[str, float]) -> set[str]:
    """Select the nodes that can compute in float16.

    Parameters
    ----------
    proto : float32 network with inferred types
    largest : known magnitudes of values

    Returns
    -------
    The first output of each
    """
    types, nodes = _types(proto), list(proto.graph.node)
    kept = _behind_the_last_norm(nodes) | _added_to_scores(nodes)
    chosen: set[str] = set()
    signal: set[str] = set()  # values that products and norms compute from the recording; not masks and distances
    for node in nodes:
        floats = [name for name in node.input if types.get(name) == TensorProto.FLOAT]
        if not floats or any(types.get(name) != TensorProto.FLOAT for name in node.output):
            continue
        if node.op_type not in (*PRODUCTS, *NORMS) and not signal & set(floats):
            continue
        signal.update(node.output)
        fits = all(largest.get(name, 0.0) <= MAX_FLOAT16_VALUE for name in (*floats, *node.output))
        if fits and node.op_type not in ALWAYS_FLOAT32 and node.output[0] not in kept:
            chosen.add(node.output[0])
    return chosen


def _behind_the_last_norm(nodes: list[onnx.NodeProto]) -> set[str]:
    """Return the first outputs of the nodes that depend on a norm and that no norm depends on."""
    before: set[str] = set()  # values that lead to a norm
    for node in reversed(nodes):
        if node.op_type in NORMS or before & set(node.output):
            before.update(node.input)
    after: set[str] = set()
    for node in nodes:
        if node.op_type in NORMS or after & set(node.input):
            after.update(node.output)
    return {node.output[0] for node in nodes if after & set(node.input) and not before & set(node.output)}


def _added_to_scores(nodes: list[onnx.NodeProto]) -> set[str]:
    """Return the first outputs of the nodes between a product and a softmax."""
    producers = {name: node for node in nodes for name in node.output}
    found: set[str] = set()
    waiting = [node.input[0] for node in nodes if node.op_type == "Softmax"]
    while waiting:
        node = producers.get(waiting.pop())
        if node and node.op_type not in PRODUCTS and node.output[0] not in found:
            found.add(node.output[0])
            waiting.extend(node.input)
    return found


def magnitudes(proto: onnx.ModelProto, nodes: set[str], rows: Iterable[Feeds]) -> dict[str, float]:
    """Measure the largest magnitude of each input and output of the nodes.

    Parameters
    ----------
    nodes : first outputs of the nodes that may compute in float16
    rows : batches of prepared recordings

    Returns
    -------
    Value -> magnitude; weights are values too
    """
    types = _types(proto)
    touched = {
        name for node in proto.graph.node if node.output[0] in nodes for name in (*node.input, *node.output)
    }
    largest = {
        tensor.name: float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
        for tensor in proto.graph.initializer
        if tensor.name in touched and tensor.data_type == TensorProto.FLOAT
    }
    inputs = {tensor.name for tensor in proto.graph.input}
    inner = [name for name in sorted(touched - inputs - largest.keys()) if types.get(name) == TensorProto.FLOAT]
    looked_into = onnx.ModelProto()
    looked_into.CopyFrom(proto)
    del looked_into.graph.output[:]
    looked_into.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner)
    session = _session(looked_into)
    for feeds in rows:
        given = {tensor.name: x for tensor, x in zip(session.get_inputs(), feeds, strict=True)}
        for name, values in [*given.items(), *zip(inner, session.run(inner, given), strict=True)]:
            if name in touched:
                largest[name] = max(largest.get(name, 0.0), float(np.abs(values).max(initial=0.0)))
    return largest


def convert(proto: onnx.ModelProto, float16: set[str]) -> onnx.ModelProto:
    """Return the network with some nodes in float16, and casts between the types.

    The types of its inputs and outputs do not change.

    Parameters
    ----------
    proto : float32 network with inferred types
    float16 : first outputs of the nodes
    """
    types, weights = _types(proto), {tensor.name: tensor for tensor in proto.graph.initializer}
    outputs = {tensor.name for tensor in proto.graph.output}
    made16 = {name for node in proto.graph.node if node.output[0] in float16 for name in node.output}
    nodes: list[onnx.NodeProto] = []
    ready: dict[tuple[str, int], str] = {}  # (value, type) -> name of its converted copy
    converted: list[onnx.TensorProto] = []

    def made_as(name: str) -> str:
        """Return the name of a node's output: unchanged, except for outputs of the network, which are casts."""
        return f"{name}_float16" if name in made16 & outputs else name

    def as_type(name: str, wanted: int) -> str:
        if types.get(name) != TensorProto.FLOAT:
            return name
        if wanted == (TensorProto.FLOAT16 if name in made16 else TensorProto.FLOAT):
            return made_as(name)
        if (name, wanted) not in ready:
            there = (
                name if name in made16 & outputs else f"{name}_{'float16' if name not in made16 else 'float32'}"
            )
            if name in weights:
                values = numpy_helper.to_array(weights[name]).astype(np.float16)
                converted.append(numpy_helper.from_array(values, there))
            else:
                nodes.append(helper.make_node("Cast", [made_as(name)], [there], f"cast_{there}", to=wanted))
            ready[name, wanted] = there
        return ready[name, wanted]

    for node in proto.graph.node:
        wanted = TensorProto.FLOAT16 if node.output[0] in float16 else TensorProto.FLOAT
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        changed.input[:] = [as_type(name, wanted) for name in node.input]
        changed.output[:] = [made_as(name) for name in node.output]
        nodes.append(changed)
    for name in sorted(made16 & outputs):
        as_type(name, TensorProto.FLOAT)

    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        proto.graph.name,
        proto.graph.input,
        proto.graph.output,
        [tensor for tensor in (*proto.graph.initializer, *converted) if tensor.name in used],
    )
    network = helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    onnx.checker.check_model(network, full_check=True)
    return network


def emulate(network: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equivalent network for CPUs: float16 nodes compute in float32, and their outputs are rounded.

    ONNX Runtime has no float16 kernels for CPUs. By default it computes neighbouring nodes in float32 without
    rounding between them, which hides the loss of float16, and overflows.
    """
    types = _types(onnx.shape_inference.infer_shapes(network))
    emulated = onnx.ModelProto()
    emulated.CopyFrom(network)
    del emulated.graph.node[:]
    widened: set[str] = set()

    def cast(name: str, target: str, to: int) -> None:
        emulated.graph.node.append(helper.make_node("Cast", [name], [target], f"cast_{target}", to=to))

    for node in network.graph.node:
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        narrow = node.op_type != "Cast" and types.get(node.output[0]) == TensorProto.FLOAT16
        for i, name in enumerate(node.input if narrow else []):
            if types.get(name) == TensorProto.FLOAT16:
                changed.input[i] = f"{name}_widened"
                if name not in widened:
                    widened.add(name)
                    cast(name, changed.input[i], TensorProto.FLOAT)
        if narrow:
            changed.output[:] = [f"{name}_unrounded" for name in node.output]
        emulated.graph.node.append(changed)
        for name in node.output if narrow else []:
            cast(f"{name}_unrounded", name, TensorProto.FLOAT16)
    return emulated


def logits(network: onnx.ModelProto, rows: Iterable[Feeds]) -> npt.NDArray[np.float32]:
    """Compute the logits with ONNX Runtime on the CPU, float32 [n, classes]."""
    session = _session(emulate(network))
    names = [tensor.name for tensor in session.get_inputs()]
    return np.concatenate([session.run(["LOGITS"], dict(zip(names, feeds, strict=True)))[0] for feeds in rows])


def _session(network: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of the outputs added for magnitudes, which have no shapes
    return onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _types(proto: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of every value."""
    values = (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values} | {
        tensor.name: tensor.data_type for tensor in proto.graph.initializer
    }
