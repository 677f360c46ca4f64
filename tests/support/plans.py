"""Small networks in a repository, of which `python -m export tensorrt` makes plans, and what it has made."""

import functools
import json
import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export import inputs, tensorrt
from server.gpu import Gpu
from systems import SYSTEMS
from tests.support import exported, tiny
from tests.support.project import REPOSITORY

SYSTEM = SYSTEMS["vgg19_bn_cqt"]
SPEECH = SYSTEMS["emotion2vec_plus_large"]
GPU = Gpu(name="NVIDIA H200", compute_capability="9.0", memory_bytes=1 << 37, driver="580.65.06")
RNG = np.random.default_rng(0)
one = inputs.example_row


@functools.cache
def prepared(name, family, seed):
    """The same rows for every test."""
    return one(SYSTEMS[name], family, seed)


def write_network(path, system):
    """Means of pictures' channels, or of the magnitudes of samples; times weights."""
    if system.spectrum:
        inputs = [helper.make_tensor_value_info("ROWS", TensorProto.FLOAT, ["batch", 3, 224, 224])]
        nodes = [
            helper.make_node("GlobalAveragePool", ["ROWS"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
        ]
    else:
        inputs = [
            helper.make_tensor_value_info("WAV", TensorProto.FLOAT, ["batch", "samples"]),
            helper.make_tensor_value_info("LENGTH", TensorProto.INT64, ["batch", 1]),
        ]
        nodes = [
            helper.make_node("ReduceL1", ["WAV", "one"], ["sums"]),
            helper.make_node("Cast", ["LENGTH"], ["lengths"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["sums", "lengths"], ["flat"]),
        ]
    classes, constants = len(system.labels), [] if system.spectrum else [np.array([1])]
    weights = RNG.normal(size=(3 if system.spectrum else 1, classes)).astype(np.float32)
    graph = helper.make_graph(
        [*nodes, helper.make_node("MatMul", ["flat", "W"], ["LOGITS"])],
        "small",
        inputs,
        [helper.make_tensor_value_info("LOGITS", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(weights, "W"), *(numpy_helper.from_array(x, "one") for x in constants)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def declare(folder):
    """Write a manifest as the export does; the three precisions have the same content here."""
    entry, made = exported.entry(folder / "model.onnx"), {}
    for precision in ("fp16", "int8"):
        shutil.copy(folder / "model.onnx", folder / f"model.{precision}.onnx")
        made[precision] = {"file": f"model.{precision}.onnx", **entry, "made_from": entry}
    exported.declare(folder, **made)


def write_repository(folder):
    """Both kinds of system in `folder`/models."""
    for system in (SYSTEM, SPEECH):
        network = folder / "models" / f"{system.name}_network"
        shutil.copytree(REPOSITORY / network.name / "configs", network / "configs")
        (network / "1").mkdir()
        write_network(network / "1" / "model.onnx", system)
        declare(network / "1")
    return folder


def write_plan(path, version="11.4.0.106"):
    """The tiny network as a plan of the fake TensorRT, or TensorRT-RTX; its path."""
    shapes = {"ROWS": [[1, 3], [8, 3], [32, 3]]}
    tiny.write_network(path)
    path.write_bytes(json.dumps(["fake plan", version, shapes]).encode() + b"\n" + path.read_bytes())
    return path


def run(place, *arguments, system=SYSTEM, beside=()):
    names = [system.name for system in ((system,) if system else ()) + beside]
    return tensorrt.main([*names, f"--repository={place / 'models'}", f"--cache={place / 'timings'}", *arguments])


def folder_of(place, system=SYSTEM):
    return place / "models" / f"{system.name}_network" / "1"


def report(place, system=SYSTEM):
    return json.loads((folder_of(place, system) / "plan.json").read_text())
