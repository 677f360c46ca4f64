"""The variant openvino_int8: refused without an INT8 network of the present weights, served with it."""

import json

import numpy as np
import pytest

from export.int8 import quantise
from server import variants
from server.errors import ServerError
from server.variants import Machine
from systems.repository import Repository
from tests.support import tiny
from tests.support.launcher import infer

MACHINE = Machine(frozenset(), openvino=True)
REFUSAL = r"tiny has no INT8 network of its present weights in .*: run make int8"


def choose(requested, machine, repository, systems):
    """As the server's start, which reads the repository anew."""
    return variants.choose(requested, machine, Repository(repository), systems)


@pytest.fixture
def int8_repository(tiny_repository):
    """The tiny system with an INT8 network, as export leaves it."""
    folder = tiny_repository / "tiny_network"
    config = tiny.NETWORK % ("tiny_network", "openvino")
    (folder / "configs/openvino_int8.pbtxt").write_text(config.replace("model.onnx", "model.int8.onnx"))
    network = quantise(folder / "1/model.onnx", {"ROWS": 1.0})
    (folder / "1/model.int8.onnx").write_bytes(network)
    made_from = {"sha256": tiny.sha256(tiny_repository)}
    made = {"file": "model.int8.onnx", "bytes": len(network), "made_from": made_from}
    tiny.declare(tiny_repository, int8=made)
    return tiny_repository


def test_an_int8_network_of_the_present_weights_is_accepted(int8_repository):
    assert choose("openvino_int8", MACHINE, int8_repository, ["tiny"]) == ("openvino_int8", "as requested")


def test_a_system_that_this_variant_serves_in_another_precision_needs_none(int8_repository):
    (int8_repository / "tiny_network/1/model.int8.onnx").unlink()
    config = tiny.NETWORK % ("tiny_network", "openvino")
    (int8_repository / "tiny_network/configs/openvino_int8.pbtxt").write_text(config)
    assert choose("openvino_int8", MACHINE, int8_repository, ["tiny"]) == ("openvino_int8", "as requested")


def test_a_missing_or_cut_network_is_refused(int8_repository):
    path = int8_repository / "tiny_network/1/model.int8.onnx"
    path.write_bytes(b"cut")
    with pytest.raises(ServerError, match=REFUSAL):
        choose("openvino_int8", MACHINE, int8_repository, ["tiny"])
    path.unlink()
    with pytest.raises(ServerError, match=REFUSAL):
        choose("openvino_int8", MACHINE, int8_repository, ["tiny"])


@pytest.mark.parametrize("change", ["entry", "weights"])
def test_a_network_that_the_manifest_does_not_vouch_for_is_refused(int8_repository, change):
    manifest = json.loads(tiny.manifest_path(int8_repository).read_text())
    if change == "entry":
        del manifest["int8"]
    else:
        manifest["onnx"]["sha256"] = "b"
    tiny.manifest_path(int8_repository).write_text(json.dumps(manifest))
    with pytest.raises(ServerError, match=REFUSAL):
        choose("openvino_int8", MACHINE, int8_repository, ["tiny"])


def test_it_is_served(launch, int8_repository):
    launcher = launch("--variant=openvino_int8").until_ready()
    rows = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    answer, exact = infer(launcher, rows), rows @ tiny.WEIGHTS + tiny.BIAS
    np.testing.assert_allclose(answer, exact, atol=0.1)
    in_bfloat16 = infer(launch("--variant=openvino").until_ready(), rows)
    assert np.abs(answer - in_bfloat16).max() > 1e-3, "another network than the float one"
    assert launcher.classify(tiny.wav(2))["rows"] == 2


def test_the_launcher_refuses_before_triton_starts(launch, tiny_repository):
    launcher = launch("--variant=openvino_int8")
    assert launcher.process.wait(20) == 2
    assert launcher.log.count("\n") == 1
    assert "run make int8" in launcher.log
