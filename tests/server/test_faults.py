"""A fault of a Python step reaches the log of the server, and the client as one sentence without paths."""

import json
import re
import urllib.error

import pytest

from tests.support import tiny

FAULTY = (
    tiny.PREPROCESS.replace("class TritonPythonModel", "class Rows")
    + """
import answers.step
from systems.manifest import Manifest

answers.step.read_manifest = lambda folder, system: Manifest(folder, {"profile": "ccmusic", "spectrum": "cqt"})

class TritonPythonModel(answers.step.Step):
    suffix = "_preprocess"

    def answer(self, request):
        if answers.step.bytes_of(request, "AUDIO") == b"the last straw":
            raise KeyError("/srv/models/secret.onnx")
        return Rows().answer(request).output_tensors()
"""
)


def test_an_unforeseen_exception_is_logged_and_not_sent(launch, tiny_repository):
    (tiny_repository / "tiny_preprocess" / "1" / "model.py").write_text(FAULTY)
    launcher = launch().until_ready()
    with pytest.raises(urllib.error.HTTPError) as failed:
        launcher.classify(b"the last straw")
    assert failed.value.code == 500
    sentence = json.load(failed.value)["error"]
    said = re.search(r"The server failed on this request; its log has the cause \(([0-9a-f]{8})\)\.", sentence)
    assert said, sentence
    assert "/" not in sentence and "Traceback" not in sentence and "secret" not in sentence
    assert launcher.classify(tiny.wav())["rows"] == 1
    log = launcher.log
    assert (
        f"tiny_preprocess: failed on a request ({said[1]})" in log and "KeyError: '/srv/models/secret.onnx'" in log
    )
