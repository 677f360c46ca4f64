"""A tiny system `tiny`, built like the real ones: WAV -> rows of 3 numbers -> ONNX network -> JSON.

One second of sound is one row; the answer names the number of rows and the sum of the logits.
"""

import hashlib
import io
import json
import wave
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.array([[1.0, 2.0], [0.5, -1.0], [0.25, 4.0]], np.float32)
BIAS = np.array([0.125, -0.5], np.float32)

PREPROCESS = """
import io, json, time, wave
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        audio = pb_utils.get_input_tensor_by_name(request, "AUDIO").as_numpy()[0]
        time.sleep(0.02)
        try:
            with wave.open(io.BytesIO(audio)) as file:
                rate, frames = file.getframerate(), file.readframes(file.getnframes())
        except Exception as error:
            refusal = pb_utils.TritonError(f"not a WAV file: {error}", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        samples = np.frombuffer(frames, np.int16).astype(np.float32) / 32768
        seconds = np.array_split(samples, max(1, round(len(samples) / rate)))
        rows = np.array([[s.mean(), s.std(), s.max()] for s in seconds], np.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("ROWS", rows)])
"""

POSTPROCESS = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        logits = pb_utils.get_input_tensor_by_name(request, "LOGITS").as_numpy()
        text = json.dumps({"rows": len(logits), "sum": float(logits.sum())})
        return pb_utils.InferenceResponse([pb_utils.Tensor("RESULT", np.array([text.encode()], object))])
"""

AUDIO = 'input [ { name: "AUDIO" data_type: TYPE_STRING dims: [ 1 ] } ]'
RESULT = 'output [ { name: "RESULT" data_type: TYPE_STRING dims: [ 1 ] } ]'
NETWORK = """
name: "%s" backend: "%s" max_batch_size: 32 default_model_filename: "model.onnx"
input [ { name: "ROWS" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "LOGITS" data_type: TYPE_FP32 dims: [ 2 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
dynamic_batching { max_queue_delay_microseconds: 20000 }
"""


def wav(seconds: float = 1.0, level: float = 0.5, rate: int = 8000) -> bytes:
    """A recording of a constant level, WAV, 16 bit."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.full(round(seconds * rate), level * 32768, np.int16).tobytes())
    return file.getvalue()


def write_network(path: Path, classes: int = 2, batch: str | int = "n") -> None:
    """An ONNX file: LOGITS = ROWS @ WEIGHTS + BIAS, with a further `classes - 2` columns of zeros."""
    weights = np.pad(WEIGHTS, ((0, 0), (0, classes - 2)))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["ROWS", "W"], ["P"]), helper.make_node("Add", ["P", "B"], ["LOGITS"])],
        "tiny",
        [helper.make_tensor_value_info("ROWS", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor_value_info("LOGITS", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(weights, "W"), numpy_helper.from_array(np.pad(BIAS, (0, classes - 2)), "B")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def ensemble(more: str, *steps: tuple[str, str, str, str, str]) -> str:
    """A configuration with steps (model, its input, fed from, its output, goes to)."""
    listed = ", ".join(
        f'{{ model_name: "{model}" model_version: -1 input_map {{ key: "{into}" value: "{source}" }} '
        f'output_map {{ key: "{out}" value: "{target}" }} }}'
        for model, into, source, out, target in steps
    )
    head = f'platform: "ensemble" max_batch_size: 0 {AUDIO} {RESULT} {more}'
    return f"{head} ensemble_scheduling {{ step [ {listed} ] }}"


def write_repository(folder: Path) -> Path:
    """The system `tiny` as export leaves it, in `folder`."""
    configs = {
        "tiny_preprocess": f"""
            backend: "python" max_batch_size: 0 {AUDIO}
            output [ {{ name: "ROWS" data_type: TYPE_FP32 dims: [ -1, 3 ] }} ]
            instance_group [ {{ count: 2 kind: KIND_CPU }} ]
            dynamic_batching {{ default_queue_policy {{ max_queue_size: 16 timeout_action: REJECT }} }}""",
        "tiny_network": NETWORK % ("tiny_network", "onnxruntime"),
        "tiny_postprocess": f"""
            backend: "python" max_batch_size: 0 {RESULT}
            input [ {{ name: "LOGITS" data_type: TYPE_FP32 dims: [ -1, 2 ] }} ]
            instance_group [ {{ count: 1 kind: KIND_CPU }} ]""",
        "tiny_chain": ensemble(
            "response_cache { enable: true }",
            ("tiny_preprocess", "AUDIO", "AUDIO", "ROWS", "rows"),
            ("tiny_network", "ROWS", "rows", "LOGITS", "logits"),
            ("tiny_postprocess", "LOGITS", "logits", "RESULT", "RESULT"),
        ),
        "tiny": ensemble("", ("tiny_chain", "AUDIO", "AUDIO", "RESULT", "RESULT")),
        "tiny_raw": ensemble("", ("tiny", "AUDIO", "AUDIO", "RESULT", "RESULT")),
    }
    for name, config in configs.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
    (folder / "tiny_preprocess/1/model.py").write_text(PREPROCESS)
    (folder / "tiny_postprocess/1/model.py").write_text(POSTPROCESS)
    (folder / "tiny_network/configs").mkdir()
    (folder / "tiny_network/configs/openvino.pbtxt").write_text(NETWORK % ("tiny_network", "openvino"))
    write_network(folder / "tiny_network/1/model.onnx")
    declare(folder)
    return folder


def declare(
    folder: Path, system: str = "tiny", like: str | None = "vgg19_bn_cqt", classes: int = 2, **entries: object
) -> None:
    """Write labels.txt and the manifest of the model.onnx that is there, as export leaves them."""
    network, names = folder / f"{system}_network", [f"class {n}" for n in range(classes)]
    content = (network / "1/model.onnx").read_bytes()
    manifest = {
        **{"format": 1, "system": system, "like": like, "profile": "ccmusic", "spectrum": "cqt"},
        **{"input": {"name": "ROWS", "shape": [3, 224, 224]}, "output": {"classes": classes}},
        **{"labels": [{"en": name, "zh": name} for name in names], "levels": [], "demo": True},
        "source": {"origin": "demo", "location": "generated", "sha256": "0"},
        "onnx": {"file": "model.onnx", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()},
    }
    (network / "1/manifest.json").write_text(json.dumps(manifest | entries))
    (network / "labels.txt").write_text("".join(f"{name}\n" for name in names))


def sha256(folder: Path) -> str:
    """That of the network, by which what was made of it names it."""
    return json.loads(manifest_path(folder).read_text())["onnx"]["sha256"]


def expected(seconds: int, level: float = 0.5) -> float:
    """The sum that `tiny` answers for `wav(seconds, level)`."""
    rows = np.tile(np.array([level, 0.0, level], np.float32), (seconds, 1))
    return float((rows @ WEIGHTS + BIAS).sum())


def manifest_path(repository: Path) -> Path:
    """The manifest of its network."""
    return repository / "tiny_network" / "1" / "manifest.json"
