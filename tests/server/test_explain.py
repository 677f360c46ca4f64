"""The network that explains: loaded where it is of the present weights, called by a step, and not needed to serve.

The step of the tiny system asks for an explanation of recordings of two seconds or more, so that those which the
launcher asks for, of one second, are answered without.
"""

import json
import os
import signal
import urllib.error

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from server import preflight
from systems.repository import Repository
from tests.support import tiny
from tests.support.waiting import wait_until

STEP = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils
from preprocess import RecordingError
from answers.genre.explain import explain

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        logits = pb_utils.get_input_tensor_by_name(request, "LOGITS").as_numpy()
        answer = {"rows": len(logits)}
        if len(logits) > 1:
            try:
                answer["maps"] = explain("tiny", np.pad(logits, ((0, 0), (0, 1))), 7).tolist()
            except RecordingError as error:
                refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
                return pb_utils.InferenceResponse(error=refusal)
        text = json.dumps(answer)
        return pb_utils.InferenceResponse([pb_utils.Tensor("RESULT", np.array([text.encode()], object))])
"""
CONFIG = """
backend: "onnxruntime" max_batch_size: 4 default_model_filename: "model.onnx"
input [
  { name: "ROWS" data_type: TYPE_FP32 dims: [ 3 ] },
  { name: "CLASS" data_type: TYPE_INT64 dims: [ 1 ] }
]
output [ { name: "MAP" data_type: TYPE_FP32 dims: [ 3 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
NOT_MADE = (
    "OPTIONS: explain needs the network tiny_explain, which this server has not loaded;"
    " run make explain, and restart the server."
)


@pytest.fixture
def explained(tiny_repository):
    """The tiny system with MAP = ROWS + CLASS, as export leaves it."""
    (tiny_repository / "tiny_postprocess/1/model.py").write_text(STEP)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["CLASS"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["ROWS", "number"], ["MAP"]),
        ],
        "tiny",
        [
            helper.make_tensor_value_info("ROWS", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("CLASS", TensorProto.INT64, ["n", 1]),
        ],
        [helper.make_tensor_value_info("MAP", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tiny_repository / "tiny_explain/1/model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)
    (tiny_repository / "tiny_explain/config.pbtxt").write_text(CONFIG)
    made = {
        "file": "../../tiny_explain/1/model.onnx",
        "bytes": path.stat().st_size,
        "made_from": {"sha256": tiny.sha256(tiny_repository)},
    }
    tiny.declare(tiny_repository, explain=made)
    return tiny_repository


def models(repository, systems):
    """As the server's start, which reads the repository anew."""
    return preflight.models(Repository(repository), systems)


def test_what_is_loaded(explained):
    assert models(explained, ["tiny", "other"]) == ["tiny_raw", "other_raw", "tiny_explain"]
    manifest = tiny.manifest_path(explained)
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"onnx": {"sha256": "of other weights"}}))
    assert models(explained, ["tiny"]) == ["tiny_raw"]
    manifest.write_text(json.dumps(content))
    assert models(explained, ["tiny"]) == ["tiny_raw", "tiny_explain"]
    (explained / "tiny_explain/1/model.onnx").write_bytes(b"cut")
    assert models(explained, ["tiny"]) == ["tiny_raw"]
    (explained / "tiny_explain/1/model.onnx").unlink()
    assert models(explained, ["tiny"]) == ["tiny_raw"]


def test_a_step_calls_it_and_it_is_brought_back(explained, launch):
    launcher = launch().until_ready()
    row = np.append(np.array([0.5, 0.0, 0.5], np.float32) @ tiny.WEIGHTS + tiny.BIAS, 0)
    np.testing.assert_allclose(launcher.classify(tiny.wav(2))["maps"], [row + 7] * 2, atol=1e-3)
    assert "maps" not in launcher.classify(tiny.wav(1))
    [stub] = launcher.stubs("tiny_explain")
    os.kill(stub, signal.SIGKILL)
    wait_until(lambda: "reloaded tiny_explain" in launcher.log, 10)
    np.testing.assert_allclose(launcher.classify(tiny.wav(2, 0.25))["maps"][0][2], 7, atol=1e-6)


def test_without_it_the_server_runs_and_says_how_to_get_it(explained, launch):
    tiny.declare(explained)
    launcher = launch().until_ready()
    assert launcher.classify(tiny.wav(1))["rows"] == 1
    with pytest.raises(urllib.error.HTTPError) as refused:
        launcher.classify(tiny.wav(2))
    assert refused.value.code == 400
    assert json.loads(refused.value.read())["error"].endswith(NOT_MADE)
    assert launcher.classify(tiny.wav(1, 0.25))["rows"] == 1
