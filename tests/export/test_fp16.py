"""FP16 networks: what is float16 and what is not, that it computes as NumPy does, and what is refused."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import derived, fp16, onnx_float16
from export.errors import ExportError
from systems import SYSTEMS
from tests.support.exported import state

RNG = np.random.default_rng(0)
SYSTEM = SYSTEMS["vgg19_bn_cqt"]
NETWORK = f"{SYSTEM.name}_network/1"
T, D, CLASSES = 6, 8, 3
WEIGHTS = {
    "EMBED": RNG.normal(size=(4, D)),
    "ONES": np.ones(D),
    "QUERY": RNG.normal(size=(D, D)) / 3,
    "DISTANCE": -np.abs(np.subtract.outer(np.arange(T), np.arange(T))) * 1000.0,
    "HALF": np.array(0.5),
    "HEAD": RNG.normal(size=(CLASSES, D)),
    "LOUD": np.array(3000.0),
    "QUIET": np.array(1 / 3000),
}


def network(nodes, **ranks):
    """ROWS [n, 6, 4] and VALID bool [n, 6] through the nodes, opset 18."""
    tensors = [
        helper.make_tensor_value_info("ROWS", TensorProto.FLOAT, ["n", T, 4]),
        helper.make_tensor_value_info("VALID", TensorProto.BOOL, ["n", T]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        tensors,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * n) for name, n in ranks.items()],
        [
            *(numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in WEIGHTS.items()),
            numpy_helper.from_array(np.array([1], np.int64), "AXIS"),
            numpy_helper.from_array(np.array([2], np.int64), "LAST"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(proto, full_check=True)
    return onnx.shape_inference.infer_shapes(proto)


def attention():
    """Embedding, norm, attention with distances, residual, norm, masked mean, head; FEATURES beside the LOGITS."""
    return network(
        [
            helper.make_node("MatMul", ["ROWS", "EMBED"], ["embedded"]),
            helper.make_node("LayerNormalization", ["embedded", "ONES"], ["normed"]),
            helper.make_node("Mul", ["normed", "HALF"], ["scaled"]),
            helper.make_node("MatMul", ["scaled", "QUERY"], ["query"]),
            helper.make_node("Transpose", ["normed"], ["key"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["query", "key"], ["scores"]),
            helper.make_node("Add", ["scores", "DISTANCE"], ["biased"]),
            helper.make_node("Softmax", ["biased"], ["attention"]),
            helper.make_node("MatMul", ["attention", "normed"], ["attended"]),
            helper.make_node("Add", ["embedded", "attended"], ["residual"]),
            helper.make_node("LayerNormalization", ["residual", "ONES"], ["FEATURES"]),
            helper.make_node("Cast", ["VALID"], ["counted"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["counted", "LAST"], ["mask"]),
            helper.make_node("Mul", ["FEATURES", "mask"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "AXIS"], ["mean"], keepdims=0),
            helper.make_node("Gemm", ["mean", "HEAD"], ["LOGITS"], transB=1),
        ],
        FEATURES=3,
        LOGITS=2,
    )


def loud():
    """A factor of 9 million and its inverse between two products; no norm, so the head is one of them."""
    return network(
        [
            helper.make_node("MatMul", ["ROWS", "EMBED"], ["first"]),
            helper.make_node("Mul", ["first", "LOUD"], ["louder"]),
            helper.make_node("Mul", ["louder", "LOUD"], ["loudest"]),
            helper.make_node("Mul", ["loudest", "QUIET"], ["softer"]),
            helper.make_node("Mul", ["softer", "QUIET"], ["soft"]),
            helper.make_node("Relu", ["soft"], ["positive"]),
            helper.make_node("ReduceSum", ["positive", "AXIS"], ["mean"], keepdims=0),
            helper.make_node("Gemm", ["mean", "HEAD"], ["LOGITS"], transB=1),
        ],
        LOGITS=2,
    )


def feeds(n=5, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, T, 4)).astype(np.float32), rng.random((n, T)) < 0.7]


def run(proto, names, inputs):
    """By ONNX Runtime; for float16 nodes it has no kernels here."""
    proto = onnx_float16.emulate(proto)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return session.run(names, dict(zip(("ROWS", "VALID"), inputs, strict=True)))


def types(proto):
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def test_norms_softmax_masks_and_what_follows_the_last_norm_stay_float32():
    proto = attention()
    expected = {"embedded", "scaled", "query", "key", "scores", "attended", "residual"}
    assert onnx_float16.float16_nodes(proto, {}) == expected
    found = types(onnx_float16.convert(proto, expected))
    assert {name for name in expected if found[name] == TensorProto.FLOAT16} == expected
    for name in ("normed", "biased", "attention", "FEATURES", "masked", "mean", "LOGITS", "ROWS"):
        assert found[name] == TensorProto.FLOAT, name


def test_without_a_norm_the_head_is_float16_too():
    assert "LOGITS" in onnx_float16.float16_nodes(loud(), {})


def test_it_computes_as_numpy_does_with_values_rounded_to_float16():
    def half(x):
        return x.astype(np.float16).astype(np.float32)

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)

    proto, (rows, valid) = attention(), feeds()
    w = {name: np.asarray(value, np.float32) for name, value in WEIGHTS.items()}
    embedded = half(half(rows) @ half(w["EMBED"]))
    normed = norm(embedded)
    scores = half(half(half(half(normed) * 0.5) @ half(w["QUERY"])) @ half(normed).swapaxes(1, 2))
    biased = scores + w["DISTANCE"]
    powers = np.exp(biased - biased.max(-1, keepdims=True))
    attended = half(half(powers / powers.sum(-1, keepdims=True)) @ half(normed))
    features = norm(half(embedded + attended))
    logits = (features * valid[..., None]).sum(1) @ w["HEAD"].T

    network16 = onnx_float16.convert(proto, onnx_float16.float16_nodes(proto, {}))
    found_features, found = run(network16, ["FEATURES", "LOGITS"], (rows, valid))
    assert np.abs(found_features - features).max() < 2e-3  # a sum that falls to the other side of a half
    assert np.median(np.abs(found_features - features)) < 1e-5
    assert np.abs(found - logits).max() < 1e-2
    float32 = run(proto, ["FEATURES"], (rows, valid))[0]
    assert np.median(np.abs(found_features - float32)) > 1e-5  # it is not float32


def test_weights_are_halved_and_none_is_kept_twice():
    proto = attention()
    network16 = onnx_float16.convert(proto, onnx_float16.float16_nodes(proto, {}))
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in network16.graph.initializer}
    assert kept["EMBED_float16"].dtype == np.float16 and "EMBED" not in kept
    assert kept["HEAD"].dtype == np.float32 and kept["DISTANCE"].dtype == np.float32
    # normed -> scaled, key and attended: one cast serves all three
    casts = [node for node in network16.graph.node if node.op_type == "Cast" and node.input[0] == "normed"]
    assert len(casts) == 1


def test_an_output_that_is_float16_inside_comes_out_as_float32():
    proto = network(
        [
            helper.make_node("MatMul", ["ROWS", "EMBED"], ["EMBEDDED"]),
            helper.make_node("Relu", ["EMBEDDED"], ["LOGITS"]),
        ],
        EMBEDDED=3,
        LOGITS=3,
    )
    rows = feeds()
    network16 = onnx_float16.convert(proto, onnx_float16.float16_nodes(proto, {}))
    for found, expected in zip(run(network16, None, rows), run(proto, None, rows), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=5e-3)
        np.testing.assert_array_equal(found, found.astype(np.float16))


def test_what_is_too_large_for_float16_stays_float32():
    proto, rows = loud(), feeds()
    wanted = onnx_float16.float16_nodes(proto, {})
    assert not np.isfinite(run(onnx_float16.convert(proto, wanted), ["LOGITS"], rows)[0]).all()
    largest = onnx_float16.magnitudes(proto, wanted, [rows, feeds(seed=2)])
    first = np.abs(np.concatenate([rows[0], feeds(seed=2)[0]]) @ WEIGHTS["EMBED"].astype(np.float32)).max()
    assert largest["first"] == pytest.approx(first, rel=1e-6)
    assert largest["loudest"] == pytest.approx(9e6 * first, rel=1e-6)
    assert largest["EMBED"] == pytest.approx(np.abs(WEIGHTS["EMBED"]).max())
    chosen = onnx_float16.float16_nodes(proto, largest)
    assert wanted - chosen == {"loudest", "softer"}
    found, expected = (run(p, ["LOGITS"], rows)[0] for p in (onnx_float16.convert(proto, chosen), proto))
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.05)


@pytest.fixture
def repository_of_one(monkeypatch, tmp_path):
    """A repository with the loud network; the sounds are replaced by random rows."""
    folder = tmp_path / f"{SYSTEM.name}_network" / "1"
    folder.mkdir(parents=True)
    onnx.save(loud(), folder / "model.onnx")
    size = (folder / "model.onnx").stat().st_size
    (folder / "manifest.json").write_text(json.dumps({"onnx": {"sha256": "of the float network", "bytes": size}}))
    monkeypatch.setattr(derived, "generated", lambda system, seed, rows: [feeds(rows, seed)])
    return tmp_path


def export(repository, rows=1500, force=False):
    return fp16.export(SYSTEM, repository, rows, force=force, log=lambda _: None)


def test_the_manifest_tells_how_it_was_made_and_compared(repository_of_one, monkeypatch):
    assert export(repository_of_one)
    made = json.loads(state(repository_of_one / NETWORK)["manifest.json"])["fp16"]
    assert made["too_large_for_float16"] == ["loudest", "softer"]
    assert made["made_from"]["sha256"] == "of the float network"
    assert (made["nodes"], made["nodes_in_float16"], made["held_out_rows"]) == (8, 5, 1500)
    assert made["agreement"] >= 0.999 and 0 < made["max_probability_difference"] < 0.1
    assert 1000 < made["largest_activation_in_float16"] <= onnx_float16.MAX_FLOAT16_VALUE
    assert made["runtime"].startswith(f"onnxruntime {onnxruntime.__version__}, ")
    assert not export(repository_of_one)
    assert export(repository_of_one, force=True)
    monkeypatch.setattr(fp16, "METHOD", fp16.METHOD + 1)
    assert export(repository_of_one)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (
            -1,
            r"gives 2 of 1500 rows another label .* more than 1%; at most 0\.1% are .* PRECISION=fp32 python",
        ),
        (np.inf, r"overflows on 2 of 1500 rows; .* PRECISION=fp32"),
    ],
)
def test_a_network_that_answers_otherwise_is_refused_and_nothing_is_written(
    repository_of_one, monkeypatch, factor, message
):
    export(repository_of_one)
    before = state(repository_of_one / NETWORK)
    logits = fp16.logits
    calls = []

    def spoiled(network, rows):
        found = logits(network, rows)
        calls.append(network)
        if len(calls) == 2:  # the FP16 one: two of 1500 rows are 0.13 %
            found[:2] *= factor
        return found

    monkeypatch.setattr(fp16, "logits", spoiled)
    with pytest.raises(ExportError, match=message):
        export(repository_of_one, force=True)
    assert state(repository_of_one / NETWORK) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], f"there is no system nonsense; choose from {', '.join(SYSTEMS)}"),
        (["--rows", "99"], "99 rows cannot show small errors; use at least 100"),
        ([], "there is no exported network in"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments, message, tmp_path, capsys):
    try:
        code = fp16.main([*arguments, "--repository", str(tmp_path)])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("vit_b_16_mel", {"LayerNormalization": 25, "Softmax": 12, "Gemm": 4}),
        ("vgg19_bn_cqt", {}),
        (
            "emotion2vec_plus_large",
            {"LayerNormalization": 38, "Softmax": 12, "Gemm": 1, "MatMul": 1, "ReduceSum": 2},
        ),
    ],
)
def test_a_network_of_the_released_size_is_halved_and_answers_alike(name, kept, request):
    """The command itself takes minutes for its thousand rows."""
    system = SYSTEMS[name]
    repository = request.getfixturevalue("repository" if system.spectrum else "speech_repository")
    proto = onnx.shape_inference.infer_shapes(onnx.load(repository / f"{name}_network" / "1" / "model.onnx"))
    nodes = onnx_float16.float16_nodes(proto, {})
    in_float32 = [node.op_type for node in proto.graph.node if node.output[0] not in nodes]
    for operator in ("LayerNormalization", "Softmax", "Gemm", "MatMul", "Conv", "ReduceSum"):
        assert in_float32.count(operator) == kept.get(operator, 0), operator
    network16 = onnx_float16.convert(proto, nodes)
    assert network16.ByteSize() < 0.52 * proto.ByteSize()
    rows = derived.generated(system, 6000, 12)
    figures = derived.agreement(*(onnx_float16.logits(network, rows) for network in (proto, network16)))
    assert figures["agreement"] == 1
    assert 0 < figures["max_probability_difference"] < 0.01
