"""The real systems around small linear networks, which are made in no time and whose answers are known exactly."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import InferenceServerClient

from server.embedded import Embedded, embedded
from systems.label_set import label_set
from systems.lengths import FIELD, HOP
from tests.support.project import REPOSITORY, SPEECH, SYSTEMS, written

GENRE = SYSTEMS[0]
NAMES = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")
RNG = np.random.default_rng(5)
FILTERS = (RNG.normal(size=(1024, FIELD)) / 20).astype(np.float32)
PROJECTION = (RNG.normal(size=(1024, len(NAMES))) / 16).astype(np.float32)
CHANNELS = RNG.normal(size=(3, len(label_set("ccmusic")))).astype(np.float32)


def write_speech_system(folder: Path) -> None:
    """The speech system, whose network sees each frame by itself."""
    network = _copy(SPEECH, folder)
    write_speech_network(network)
    _describe(network, SPEECH_MANIFEST)


def write_genre_system(folder: Path) -> None:
    """The first genre system, whose network sees the mean of each colour."""
    network = _copy(GENRE, folder)
    write_genre_network(network)
    _describe(network, GENRE_MANIFEST)


@contextmanager
def serving(folder: Path) -> Iterator[Embedded]:
    """The embedded server on the systems in `folder`."""
    flags = (f"--model-repository={folder}", "--variant=onnxruntime")
    with embedded(*flags, log=folder / "server.log") as server:
        yield server


@contextmanager
def asking(server: Embedded) -> Iterator[InferenceServerClient]:
    """Triton's own client of it, which takes and sends tensors of any size."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with InferenceServerClient(server.grpc, channel_args=unlimited) as client:
        yield client


def _copy(system: str, folder: Path) -> Path:
    """Copy configurations and steps; where the network belongs."""
    for path in REPOSITORY.glob(f"{system}*"):
        shutil.copytree(path, folder / path.name, ignore=written)
    return folder / f"{system}_network" / "1" / "model.onnx"


def _describe(network: Path, manifest: dict) -> None:
    """Write the manifest and the labels."""
    onnx = {"file": network.name, "bytes": network.stat().st_size}
    network.with_name("manifest.json").write_text(json.dumps(manifest | {"onnx": onnx}))
    labels = "".join(f"{label['en']}\n" for label in manifest["labels"])
    (network.parents[1] / "labels.txt").write_text(labels)


def write_genre_network(path: Path) -> None:
    """LOGITS = mean of each channel @ CHANNELS."""
    nodes = [
        helper.make_node("ReduceMean", ["ROWS", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "channels"], ["LOGITS"]),
    ]
    _save(
        path,
        nodes,
        [_tensor("ROWS", "n", 3, 224, 224)],
        [_tensor("LOGITS", "n", len(label_set("ccmusic")))],
        {"axes": np.array([2, 3], np.int64), "channels": CHANNELS},
    )


def write_speech_network(path: Path) -> None:
    """FEATURES = frame @ FILTERS' + LENGTH in seconds, FRAME_LOGITS = FEATURES @ PROJECTION, and their means."""
    nodes = [
        helper.make_node("Unsqueeze", ["WAV", "one"], ["channels"]),
        helper.make_node("Conv", ["channels", "filters"], ["filtered"], strides=[HOP]),
        helper.make_node("Transpose", ["filtered"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("Cast", ["LENGTH"], ["samples"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["samples", "rate"], ["seconds"]),
        helper.make_node("Unsqueeze", ["seconds", "one"], ["offset"]),
        helper.make_node("Add", ["frames", "offset"], ["FEATURES"]),
        helper.make_node("MatMul", ["FEATURES", "projection"], ["FRAME_LOGITS"]),
        helper.make_node("ReduceMean", ["FEATURES", "one"], ["EMBEDDING"], keepdims=0),
        helper.make_node("ReduceMean", ["FRAME_LOGITS", "one"], ["LOGITS"], keepdims=0),
    ]
    constants = {
        "one": np.array([1], np.int64),
        "filters": FILTERS[:, None],
        "rate": np.float32(16000),
        "projection": PROJECTION,
    }

    _save(
        path,
        nodes,
        [_tensor("WAV", "n", "samples"), _tensor("LENGTH", "n", 1, kind=TensorProto.INT64)],
        [
            _tensor("FEATURES", "n", "t", 1024),
            _tensor("FRAME_LOGITS", "n", "t", 9),
            _tensor("EMBEDDING", "n", 1024),
            _tensor("LOGITS", "n", 9),
        ],
        constants,
    )


def _tensor(name: str, *shape: str | int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _save(path: Path, nodes: list, inputs: list, outputs: list, constants: dict[str, np.ndarray]) -> None:
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "small", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


SPEECH_MANIFEST = {
    "format": 1,
    "system": SPEECH,
    "architecture": "emotion2vec",
    "profile": "emotion2vec",
    "spectrum": None,
    "input": {"name": "WAV", "shape": [-1]},
    "output": {"name": "LOGITS", "classes": 9, "embedding": 1024},
    "labels": [{"en": name, "zh": name.upper()} for name in NAMES],
    "levels": [],
    "source": {"origin": "demo", "location": "generated", "sha256": "00"},
    "demo": True,
}
GENRE_MANIFEST = SPEECH_MANIFEST | {
    "system": GENRE,
    "architecture": "vgg19_bn",
    "profile": "article-a",
    "spectrum": "cqt",
    "input": {"name": "ROWS", "shape": [3, 224, 224]},
    "output": {"name": "LOGITS", "classes": len(label_set("ccmusic"))},
    **label_set("ccmusic").manifest(),
}
