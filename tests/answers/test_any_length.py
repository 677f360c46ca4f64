"""LENGTH of the speech network, which any client may send: its value for one row does not affect the others."""

import numpy as np
import onnxruntime
import openvino
import pytest
import torch

from export import onnx_export
from export.checkpoint import build
from systems import SYSTEMS
from systems.architectures import EMOTION2VEC
from tests.support.small_emotion2vec import TINY, padded, random_state, sounds

pytestmark = pytest.mark.slow  # the export
OUTPUTS = ("FEATURES", "FRAME_LOGITS", "EMBEDDING", "LOGITS")
NONSENSE = (0, -1, 399, -(2**63), 8001, 2**31, 2**63 - 1)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network as it is exported."""
    path = tmp_path_factory.mktemp("length") / "model.onnx"
    onnx_export.to_onnx(
        build(random_state(TINY), EMOTION2VEC, 9), onnx_export.graph_of(SYSTEMS["emotion2vec_plus_large"]), path
    )
    return str(path)


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def run(request, network):
    """Runs it on the runtime of a backend: WAV, LENGTH -> the four outputs."""
    if request.param == "onnxruntime":
        session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
        return lambda wav, length: session.run(OUTPUTS, {"WAV": wav, "LENGTH": length})
    compiled = openvino.Core().compile_model(network, "CPU")
    return lambda wav, length: [compiled({"WAV": wav, "LENGTH": length})[name] for name in OUTPUTS]


def test_rows_of_any_length_leave_the_others_as_they_are(run):
    wav, length = (x.numpy() for x in padded(sounds([8000] * (len(NONSENSE) + 1) + [5000])))
    expected = run(wav, length)
    length = length.copy()
    length[1:-1, 0] = NONSENSE
    for found, alone in zip(run(wav, length), expected, strict=True):
        assert np.isfinite(alone).all()
        np.testing.assert_allclose(found[[0, -1]], alone[[0, -1]], atol=1e-6)
        if found.ndim == 3:  # EMBEDDING and LOGITS are means over the row's own frames, and may have none
            assert np.isfinite(found).all()


def test_a_length_beyond_the_row_is_that_of_the_row(run):
    wav = torch.cat(sounds([8000])).numpy()
    for found, whole in zip(run(wav, np.array([[2**30]])), run(wav, np.array([[8000]])), strict=True):
        np.testing.assert_array_equal(found, whole)
