"""INT8 networks: what is rounded and how, against NumPy; and when they are made, kept and refused."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import demo, int8
from export.errors import ExportError
from systems import SYSTEMS
from systems.variants import INT8_FILE
from tests.support.exported import declare, entry, state
from tests.support.project import ROOT
from tests.support.project import SYSTEMS as GENRES

RNG = np.random.default_rng(0)
SYSTEM = SYSTEMS["vgg19_bn_cqt"]
NETWORK = f"{SYSTEM.name}_network/1"
FILTERS = (
    RNG.normal(size=(4, 3, 1, 1)).astype(np.float32) * np.array([1, 10, 0.1, 1], np.float32)[:, None, None, None]
)
SHIFT = RNG.normal(size=4).astype(np.float32)
WEIGHTS = RNG.normal(size=(5, 64)).astype(np.float32)
BIAS = RNG.normal(size=5).astype(np.float32)


def write_network(path):
    """ROWS [n, 3, 4, 4] -> convolution -> ReLU -> times its own transpose -> linear layer -> LOGITS [n, 5]."""
    nodes = [
        helper.make_node("Conv", ["ROWS", "F", "S"], ["convolved"], "conv"),
        helper.make_node("Relu", ["convolved"], ["positive"], "relu"),
        helper.make_node("Transpose", ["positive"], ["turned"], "transpose", perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["positive", "turned"], ["product"], "product"),
        helper.make_node("Flatten", ["product"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "W", "B"], ["LOGITS"], "linear", transB=1),
    ]
    values = {"F": FILTERS, "S": SHIFT, "W": WEIGHTS, "B": BIAS}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("ROWS", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [helper.make_tensor_value_info("LOGITS", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.shape_inference.infer_shapes(proto), path)


def pictures(n, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (n, 3, 4, 4)).astype(np.float32)


def rounded(values, limit):
    scale = limit / 127
    return np.clip(np.round(values / scale), -128, 127) * scale


def steps(rows, round_input, round_flat, round_weights):
    """The small network in NumPy: what the linear layer takes in, and the logits."""
    filters, weights = (
        np.stack([rounded(row, np.abs(row).max()) for row in w]) if round_weights else w
        for w in (FILTERS, WEIGHTS)
    )
    positive = np.maximum(
        np.einsum("oi,nihw->nohw", filters[..., 0, 0], round_input(rows)) + SHIFT[:, None, None], 0
    )
    flat = (positive @ positive.swapaxes(2, 3)).reshape(len(rows), -1)
    return flat, round_flat(flat) @ weights.T + BIAS


def test_the_limit_is_the_one_with_the_least_error():
    values = np.abs(np.append(RNG.normal(size=20000), 40.0)).astype(np.float32)  # one far outlier
    limit = int8.least_error_limit(values, 40.0)
    errors = {
        c: np.mean((rounded(values.astype(np.float64), c) - values) ** 2) for c in np.linspace(0.8, 40.0, 50)
    }
    assert limit == pytest.approx(min(errors, key=errors.get))
    assert limit < 40
    assert int8.least_error_limit(np.ones(10, np.float32), 1.0) == 1.0
    assert int8.least_error_limit(np.zeros(10, np.float32), 0.0) > 0


def test_limits_are_of_what_meets_weights_and_of_that_alone(tmp_path):
    write_network(tmp_path / "model.onnx")
    rows = pictures(48)
    limits = int8.limits(tmp_path / "model.onnx", rows)
    assert limits.keys() == {"ROWS", "flat"}
    flat, _ = steps(rows, *[lambda x: x] * 2, False)
    candidates = np.abs(flat).max() * int8.CANDIDATES
    best = candidates[np.argmin([np.mean((rounded(flat, c) - flat) ** 2) for c in candidates])]
    assert limits["flat"] == pytest.approx(best, rel=0.1)  # from a sample of the values


def test_the_network_computes_as_numpy_does_with_rounded_numbers(tmp_path):
    path = tmp_path / "model.onnx"
    write_network(path)
    rows, limits = pictures(64), {"ROWS": 0.75, "flat": 20.0}
    network = int8.quantise(path, limits)
    _, expected = steps(rows, lambda x: rounded(x, 0.75), lambda x: rounded(x, 20.0), True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (found,) = onnxruntime.InferenceSession(network, options).run(None, {"ROWS": rows})
    step = 20 / 127 * np.abs(WEIGHTS).max()  # of one value that falls to the other side of a half
    assert np.abs(found - expected).max() <= 2 * step
    assert (np.abs(found - expected) < 1e-3).mean() > 0.9
    assert np.abs(found - steps(rows, *[lambda x: x] * 2, False)[1]).max() > 10 * step
    served = int8.logits(network, rows, "f32")
    assert np.median(np.abs(served - expected)) < 0.1


def test_everything_is_symmetric_and_the_rest_stays_float(tmp_path):
    write_network(tmp_path / "model.onnx")
    proto = onnx.load_from_string(int8.quantise(tmp_path / "model.onnx", {"ROWS": 1.0, "flat": 9.0}))
    onnx.checker.check_model(proto)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    nodes = {node.name: node for node in proto.graph.node}
    rounding = [node for node in proto.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {node.domain for node in rounding} == {""}
    for node in rounding:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    scales = [constants[node.input[1]].size for node in rounding if node.input[0] in constants]
    assert sorted(scales) == [4, 5], "one per output channel"
    assert sum(node.op_type == "QuantizeLinear" for node in rounding) == 2
    assert nodes["relu"].input[0] == "convolved" and nodes["product"].input[0] == "positive"
    assert nodes["conv"].input[2] == "S" and constants["S"].dtype == np.float32


@pytest.fixture
def repository_of_one(monkeypatch, tmp_path):
    """A repository with the small network; the sounds are replaced by random pictures."""
    folder = tmp_path / f"{SYSTEM.name}_network" / "1"
    write_network(folder / "model.onnx")
    declare(folder)

    def rows(system, seeds):
        return np.concatenate([pictures(48, seed) for seed in seeds]), None

    monkeypatch.setattr(demo, "rows", rows)
    return tmp_path


def run(repository, rows=100, force=False):
    return int8.export(SYSTEM, repository, rows, force=force, log=lambda _: None)


def test_the_manifest_describes_what_was_made(repository_of_one):
    before = json.loads(state(repository_of_one / NETWORK)["manifest.json"])
    assert run(repository_of_one, rows=110)
    files = state(repository_of_one / NETWORK)
    assert files.keys() == {"model.onnx", INT8_FILE, "manifest.json"}
    manifest = json.loads(files["manifest.json"])
    made = manifest.pop("int8")
    assert manifest == before
    assert made["file"] == INT8_FILE and made["bytes"] == len(files[INT8_FILE])
    assert made["sha256"] == hashlib.sha256(files[INT8_FILE]).hexdigest()
    assert made["made_from"] == entry(repository_of_one / NETWORK / "model.onnx")
    assert (made["calibration_rows"], made["held_out_rows"]) == (96, 110)
    assert 0.99 <= made["agreement"] <= 1 and made["layers_in_float"] == []
    assert 0 < made["median_probability_difference"] <= made["max_probability_difference"] < 0.5


def test_it_is_made_again_only_where_something_changed(repository_of_one, monkeypatch):
    folder = repository_of_one / f"{SYSTEM.name}_network" / "1"
    assert run(repository_of_one)
    assert not run(repository_of_one)
    assert run(repository_of_one, force=True)
    (folder / INT8_FILE).write_bytes(b"cut")
    assert run(repository_of_one)
    (folder / INT8_FILE).unlink()
    assert run(repository_of_one)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["onnx"]["sha256"] = "of other weights"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert run(repository_of_one)
    monkeypatch.setattr(int8, "METHOD", int8.METHOD + 1)
    assert run(repository_of_one)


def test_a_network_that_answers_otherwise_is_refused_and_nothing_is_written(repository_of_one, monkeypatch):
    run(repository_of_one)
    before = state(repository_of_one / NETWORK)
    limits = int8.limits
    monkeypatch.setattr(int8, "limits", lambda *a: {name: limit / 20 for name, limit in limits(*a).items()})
    with pytest.raises(
        ExportError, match=r"about \d+\.\d\d% of 100 rows \(same label\), at least 99% is accepted"
    ):
        run(repository_of_one, force=True)
    assert state(repository_of_one / NETWORK) == before


def test_the_layer_that_loses_most_stays_in_float(repository_of_one, monkeypatch):
    """Here the linear layer, whose limit cuts off nearly all; the manifest names it."""
    limits = int8.limits
    monkeypatch.setattr(int8, "limits", lambda *a: limits(*a) | {"flat": 0.01})
    assert run(repository_of_one)
    made = json.loads(state(repository_of_one / NETWORK)["manifest.json"])["int8"]
    assert made["layers_in_float"] == ["linear"] and made["agreement"] >= 0.99
    proto = onnx.load(repository_of_one / NETWORK / INT8_FILE)
    assert [node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"] == ["ROWS"]


def test_logits_are_compared_and_not_the_first_output(tmp_path):
    """A system with embeddings puts them out before its logits."""
    path = tmp_path / "model.onnx"
    write_network(path)
    proto = onnx.load(path)
    outputs = [helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n", 64]), *proto.graph.output]
    del proto.graph.output[:]
    proto.graph.output.extend(outputs)
    rows = pictures(3)
    _, expected = steps(rows, *[lambda x: x] * 2, False)
    np.testing.assert_allclose(int8.logits(proto.SerializeToString(), rows, "f32"), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "there is no system nonsense; choose from "),
        (["--rows", "0"], "0 rows cannot show 99%; use at least 100"),
        ([], "there is no exported network in"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments, message, tmp_path, capsys):
    try:
        code = int8.main([*arguments, "--repository", str(tmp_path)])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("system", [SYSTEMS[name] for name in GENRES], ids=GENRES)
def test_the_released_sizes_keep_their_labels(system, repository, tmp_path):
    """By the command that a user calls; then on other sounds, and in the other runtime."""
    name = f"{system.name}_network"
    shutil.copytree(repository / name, tmp_path / name, copy_function=os.link)
    (tmp_path / name / "1" / "manifest.json").unlink()  # not the linked one
    shutil.copy(repository / name / "1" / "manifest.json", tmp_path / name / "1")
    command = [sys.executable, "-m", "export", "int8", system.name, f"--repository={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True)
    rows, _ = demo.rows(system, range(6000, 6001))
    float32, whole8 = (
        np.concatenate([session.run(None, {"ROWS": part})[0] for part in np.split(rows, 12)])
        for session in (onnxruntime.InferenceSession(tmp_path / name / "1" / f) for f in ("model.onnx", INT8_FILE))
    )
    assert (float32.argmax(1) == whole8.argmax(1)).mean() >= 0.97  # one of 48
