"""Networks behind the option explain, which map the evidence for a class: model.onnx -> `<system>_explain/1/`.

`python -m export explain` takes the graph of the float network, removes unneeded nodes, and adds others:

* ViT: attention roll-out (Abnar and Zuidema, "Quantifying attention flow in transformers", 2020). A block counts
  as half its attention, averaged over the heads, and half the identity, for the residual path; rows still sum to
  1. The product over all blocks gives the share of each patch in each token; the class token's row is the map. It
  is the same for every class.
* VGG: Grad-CAM (Selvaraju et al., "Grad-CAM", 2017) at the last convolution. Each of its maps, after the ReLU, is
  weighted by the mean gradient of the class's logit; the positive part of the sum is the map. The gradient is
  written as forward operations: backwards through the head by its weights, masked by its ReLUs. Pooling passes the
  gradient of each value to one of four; the mean, which is all that is needed, does not depend on which.

So only the exported network is needed, and the explanation uses the served weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export import command, derived
from export.files import load
from export.sources import Log
from systems import System
from systems.repository import Network

# Version of the method. Increase it with every change that should replace the networks in use.
METHOD = 1
# Side of a map: patches of the ViT, positions of VGG's last convolution.
SIDE = 14


def export(system: System, repository: Path, *, force: bool, log: Log) -> bool:
    """Bring the explaining network of a system up to date with the float network: see `derived.derive`."""

    def make(network: Network, path: Path) -> derived.Description:
        explaining = load(str(system.architecture.explainer))(onnx.load(network.onnx.path))
        log(f"writing {network.explain.path}")
        path.write_bytes(explaining.SerializeToString())
        return {}

    return derived.derive(system, repository, "explain", lambda _: {"method": METHOD}, make, force=force, log=log)


class Nodes:
    """Nodes to add to a network, and their constants.

    Their names begin with "explain", unlike the exporter's.
    """

    def __init__(self, proto: ModelProto) -> None:
        self.proto = proto
        self.weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._added: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def add(self, kind: str, *inputs: str | npt.ArrayLike, output: str | None = None, **attributes: object) -> str:
        """Add a node with one output and return the name of that."""
        output = output or f"explain_{len(self._added)}"
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        self._added.append(helper.make_node(kind, names, [output], output, **attributes))
        return output

    def values(self, name: str) -> npt.NDArray:
        """Return a weight tensor of the network."""
        return numpy_helper.to_array(self.weights[name])

    def finish(self, sums: str) -> ModelProto:
        """Return the network with the inputs ROWS and CLASS and the output MAP, which is `sums` scaled to [0, 1].

        Parameters
        ----------
        sums : name of a tensor with 14 x 14 values per row; if they are all equal, the map is 0
        """
        maps = self.add("Reshape", sums, np.array([-1, SIDE, SIDE]))
        low, high = (self.add(kind, maps, np.array([1, 2])) for kind in ("ReduceMin", "ReduceMax"))
        span = self.add("Sub", high, low)
        flat = self.add("Equal", span, np.array([0], np.float32))
        divisor = self.add("Where", flat, np.array([1], np.float32), span)
        self.add("Div", self.add("Sub", maps, low), divisor, output="MAP")
        graph = self.proto.graph
        nodes = _needed([*graph.node, *self._added], "MAP")
        used = {name for node in nodes for name in node.input}
        rows, batch = graph.input[0], graph.input[0].type.tensor_type.shape.dim[0].dim_param
        explained = helper.make_graph(
            nodes,
            graph.name,
            [rows, helper.make_tensor_value_info("CLASS", TensorProto.INT64, [batch, 1])],
            [helper.make_tensor_value_info("MAP", TensorProto.FLOAT, [batch, SIDE, SIDE])],
            [tensor for tensor in (*graph.initializer, *self._constants) if tensor.name in used],
        )
        proto = helper.make_model(
            explained, opset_imports=self.proto.opset_import, ir_version=self.proto.ir_version
        )
        onnx.checker.check_model(proto, full_check=True)
        return proto

    def _constant(self, values: npt.ArrayLike) -> str:
        name = f"explain_constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name


def roll_out(proto: ModelProto) -> ModelProto:
    """Attention roll-out of a ViT: ROWS -> LOGITS becomes ROWS, CLASS -> MAP; CLASS has no effect."""
    blocks = [node for node in proto.graph.node if node.op_type == "Softmax"]
    nodes, tokens = Nodes(proto), 1 + SIDE * SIDE
    # Only one row of the product is needed: a vector times matrices, from the last block to the first.
    share = nodes.add("Identity", np.eye(1, tokens, dtype=np.float32)[None, None])
    for block in reversed(blocks):
        through = nodes.add("ReduceMean", nodes.add("MatMul", share, block.output[0]), np.array([1]))
        share = nodes.add("Mul", nodes.add("Add", through, share), np.float32(0.5))
    patches = nodes.add("Slice", share, np.array([1]), np.array([tokens]), np.array([3]))
    return nodes.finish(patches)


def grad_cam(proto: ModelProto) -> ModelProto:
    """Grad-CAM of a VGG: ROWS -> LOGITS becomes ROWS, CLASS -> MAP."""
    nodes, graph = Nodes(proto), proto.graph
    *hidden, last = [node for node in graph.node if node.op_type == "Gemm"]
    follower = {node.input[0]: node for node in graph.node}
    maps = [node for node in graph.node if node.op_type == "MaxPool"][-1].input[0]
    channels = len(nodes.values([node for node in graph.node if node.op_type == "Conv"][-1].input[1]))
    # Row c of the last weights is the gradient of logit c with respect to the input of the last layer.
    gradient = nodes.add("Gather", last.input[1], nodes.add("Squeeze", "CLASS", np.array([1])))
    for layer in reversed(hidden):
        passes = nodes.add("Greater", follower[layer.output[0]].output[0], np.float32(0))
        gradient = nodes.add("Mul", gradient, nodes.add("Cast", passes, to=TensorProto.FLOAT))
        weights = layer.input[1]
        if layer is hidden[0]:  # before it, the sum over the positions of a map is needed
            values = nodes.values(weights)
            weights = values.reshape(len(values), channels, -1).sum(-1)
        gradient = nodes.add("MatMul", gradient, weights)
    flat = nodes.add("Reshape", maps, np.array([0, 0, SIDE * SIDE]))
    sums = nodes.add("MatMul", nodes.add("Unsqueeze", gradient, np.array([1])), flat)
    return nodes.finish(nodes.add("Relu", sums))


def _needed(nodes: list[NodeProto], output: str) -> list[NodeProto]:
    """Return the nodes that `output` depends on, in order."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 after an error that the user can fix."""
    parser = command.Parser(
        "explain",
        "Build the networks behind the option explain from the exported ones. A server loads them when it starts.",
    )
    args = parser.parse_args(arguments)
    return command.run(
        "export explain",
        parser.choose(args, "explain", "has no network that explains"),
        lambda system, log: export(system, args.repository, force=args.force, log=log),
        "the served network is unchanged",
    )


if __name__ == "__main__":
    sys.exit(command.moved("explain"))
