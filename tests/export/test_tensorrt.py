"""TensorRT plans with a fake TensorRT: what the builder is told, what is written, and when nothing is.

What a real builder says of networks and shapes that it does not take is seen in test_tensorrt_rtx.py.
"""

import hashlib
import json
import os
import shutil
import signal

import numpy as np
import pytest

from export import derived, fp16, tensorrt
from export.errors import ExportError
from server.gpu import Gpu
from systems import SYSTEMS
from systems.lengths import COARSE_BUCKETS
from tests.support import exported
from tests.support.plans import SPEECH, SYSTEM, declare, folder_of, report, run, write_network
from tests.support.project import REPOSITORY, read_config
from tests.support.project import SYSTEMS as GENRES


def state(place):
    """All that is written, but for the builder's log."""
    files = exported.state(place)
    return {name: content for name, content in files.items() if not name.endswith((".log", ".timings"))}


def calls(trt, *methods):
    return [(method, args, kwargs) for _, method, args, kwargs in trt.CALLS if method in methods]


def test_what_the_builder_is_told_and_in_which_order(place, trt):
    assert run(place, "--level=5") == 0
    told = [(method, *args) for _, method, args, _ in trt.CALLS]
    order = [
        ("create_network", 1 << 1),  # strongly typed, and nothing else
        ("parse_from_file", str(folder_of(place) / "model.fp16.onnx")),
        ("set_shape", "ROWS", (1, 3, 224, 224), (16, 3, 224, 224), (32, 3, 224, 224)),
        ("builder_optimization_level =", 5),
        ("set_memory_pool_limit", trt.MemoryPoolType.WORKSPACE, 1 << 36),  # half of the GPU's
        ("create_timing_cache", b""),
    ]
    places = [told.index(step) for step in order]
    methods = [method for method, *_ in told]
    places += [methods.index(m) for m in ("set_timing_cache", "build_serialized_network", "serialize")]
    places += [methods.index("deserialize_cuda_engine")]
    assert places == sorted(places)
    assert "set_flag" not in methods
    assert calls(trt, "set_timing_cache")[0][2] == {"ignore_mismatch": False}


def test_a_tensorrt_that_has_dropped_the_flag_is_not_given_it(place, trt, monkeypatch):
    monkeypatch.setattr(trt, "NetworkDefinitionCreationFlag", type("NetworkDefinitionCreationFlag", (), {}))
    assert run(place) == 0
    assert calls(trt, "create_network") == [("create_network", (0,), {})]


def test_shapes_of_an_axis_of_any_length_come_from_the_warm_ups(place, trt):
    assert run(place, system=SPEECH) == 0
    assert [args for _, args, _ in calls(trt, "set_shape")] == [
        ("WAV", (1, 19920), (8, 78800), (32, 488400)),  # 1.3, 5 and 30.5 s
        ("LENGTH", (1, 1), (8, 1), (32, 1)),
    ]
    assert report(place, SPEECH)["parity"]["rows"] == 12


def configuration(system):
    return read_config(REPOSITORY / f"{system}_network" / "configs" / "tensorrt.pbtxt")


@pytest.mark.parametrize("system", GENRES)
def test_every_batch_of_pictures_has_one_cuda_graph(system):
    model = configuration(system)
    graphs = model.optimization.cuda.graph_spec
    served = [
        n
        for graph in graphs
        for n in range(graph.graph_lower_bound.batch_size or graph.batch_size, graph.batch_size + 1)
    ]
    assert sorted(served) == list(range(1, model.max_batch_size + 1))
    assert {graph.batch_size for graph in graphs} >= set(model.dynamic_batching.preferred_batch_size)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_shape_that_is_preferred_is_warmed_up(system):
    model = configuration(system)
    found = {(tuple(w.inputs[model.input[0].name].dims), w.batch_size) for w in model.model_warmup}
    lengths = [(n,) for n in COARSE_BUCKETS] if system == SPEECH.name else [SYSTEMS[system].profile.shape]
    assert found >= {(dims, n) for dims in lengths for n in (1, *model.dynamic_batching.preferred_batch_size)}
    assert {dims for dims, _ in found} == set(lengths)


def test_the_report(place, trt):
    trt.spoil = lambda logits: logits + np.float32(1e-3) * np.arange(logits.shape[1], dtype=np.float32)
    assert run(place) == 0
    folder = folder_of(place)
    made, plan, network = report(place), (folder / "model.plan").read_bytes(), (folder / "model.fp16.onnx")
    parity = made.pop("parity")
    assert parity.pop("runtime").startswith("onnxruntime ")
    assert parity.pop("rows") == 12 and parity.pop("agreement") == 1
    assert 0 < parity.pop("median_probability_difference") <= parity["max_probability_difference"] < 1e-2
    assert 0 < parity.pop("mean_probability_difference") <= parity.pop("max_probability_difference")
    assert not parity
    assert made.pop("seconds") >= 0 and made.pop("created").startswith("20")
    weights = json.loads((folder / "manifest.json").read_text())["onnx"]
    source = {"sha256": hashlib.sha256(network.read_bytes()).hexdigest(), "bytes": network.stat().st_size}
    assert made == {
        "format": 1,
        "file": "model.plan",
        "sha256": hashlib.sha256(plan).hexdigest(),
        "bytes": len(plan),
        "precision": "fp16",
        "level": 3,
        "tensorrt": "11.4.0.106",
        "gpu": {"name": "NVIDIA H200", "compute_capability": "9.0"},
        "driver": "580.65.06",
        "onnx": {"file": "model.fp16.onnx", **source},
        "made_from": {key: weights[key] for key in ("sha256", "bytes")},
        "profile": {"ROWS": {"min": [1, 3, 224, 224], "opt": [16, 3, 224, 224], "max": [32, 3, 224, 224]}},
        "device_memory_bytes": 12345,
    }
    assert (folder / "model.plan.log").read_text() == "INFO building\n"
    assert not trt.cuda.MEMORY and not trt.cuda.STREAMS  # given back, for the next system's


@pytest.mark.parametrize(("precision", "file"), [("fp32", "model.onnx"), ("int8", "model.int8.onnx")])
def test_other_precisions_are_built_from_their_networks(place, trt, precision, file):
    assert run(place, f"--precision={precision}") == 0
    assert report(place)["onnx"]["file"] == file
    assert calls(trt, "parse_from_file")[0][1] == (str(folder_of(place) / file),)


def test_fp16_is_made_first_and_only_for_fp16(place, monkeypatch):
    made = []
    monkeypatch.setattr(fp16, "export", lambda system, repository, *_, **__: made.append((system, repository)))
    assert run(place) == run(place, "--precision=int8") == 0
    assert made == [(SYSTEM, place / "models")]


def test_every_fp16_network_is_made_before_the_first_plan(place, trt, monkeypatch):
    """Variant cuda, which serves where a plan cannot be built, needs all of them."""
    made = []
    monkeypatch.setattr(fp16, "export", lambda system, *_, **__: made.append((system.name, len(trt.CALLS))))
    monkeypatch.setattr(trt, "build_error", "no tactics")
    assert run(place, beside=(SPEECH,)) == 2
    assert made == [(SYSTEM.name, 0), (SPEECH.name, 0)]


def test_what_one_system_lacks_keeps_no_other_from_its_plan(place, monkeypatch, capsys):
    def refuse(system, *_, **__):
        if system == SYSTEM:
            raise ExportError("it overflows")

    (folder_of(place) / "model.fp16.onnx").unlink()
    monkeypatch.setattr(fp16, "export", refuse)
    assert run(place, beside=(SPEECH,)) == 2
    assert "export tensorrt: it overflows\n" in capsys.readouterr().err
    assert report(place, SPEECH)["precision"] == "fp16" and not (folder_of(place) / "plan.json").exists()


def test_a_precision_once_chosen_is_kept(place, monkeypatch):
    monkeypatch.setenv("PRECISION", "fp32")
    assert run(place) == 0
    monkeypatch.setenv("PRECISION", "")  # as docker compose sets what is not set
    assert run(place, "--force") == 0
    assert report(place)["precision"] == "fp32"
    assert run(place, "--precision=fp16") == run(place) == 0
    assert report(place)["precision"] == "fp16"


def test_a_precision_that_is_none(place, monkeypatch, capsys):
    monkeypatch.setenv("PRECISION", "half")
    with pytest.raises(SystemExit):
        run(place)
    assert "PRECISION" in (said := capsys.readouterr().err) and "half" in said and "fp16, int8, fp32" in said


def change_weights(place, trt, monkeypatch):
    write_network(folder_of(place) / "model.onnx", SYSTEM)
    declare(folder_of(place))


def change_shapes(place, trt, monkeypatch):
    config = folder_of(place).parent / "configs" / "tensorrt.pbtxt"
    config.write_text(config.read_text().replace("[ 8, 16 ]", "[ 8 ]"))


def cut(place, trt, monkeypatch):
    (folder_of(place) / "model.plan").write_bytes(b"cut")


def other_tensorrt(place, trt, monkeypatch):
    trt.__version__ = "11.5.0.1"


def other_gpu(place, trt, monkeypatch):
    monkeypatch.setattr(tensorrt, "find_gpu", lambda: Gpu("NVIDIA A100", "8.0", 1 << 36, "580.65.06"))


def no_report(place, trt, monkeypatch):
    (folder_of(place) / "plan.json").unlink()


def other_driver(place, trt, monkeypatch):
    monkeypatch.setattr(tensorrt, "find_gpu", lambda: Gpu("NVIDIA H200", "9.0", 1 << 37, "590.1"))


@pytest.mark.parametrize(
    ("change", "arguments", "builds"),
    [
        (None, [], 0),
        (other_driver, [], 0),
        (None, ["--force"], 1),
        (None, ["--level=0"], 1),
        (None, ["--precision=fp32"], 1),
        *((c, [], 1) for c in (change_weights, change_shapes, cut, other_tensorrt, other_gpu, no_report)),
    ],
)
def test_it_is_built_again_only_where_something_changed(
    place, trt, monkeypatch, capsys, change, arguments, builds
):
    assert run(place) == 0
    if change:
        change(place, trt, monkeypatch)
    trt.CALLS.clear()
    capsys.readouterr()
    assert run(place, *arguments) == 0
    assert len(calls(trt, "build_serialized_network")) == builds
    assert ("nothing to do" in capsys.readouterr().out) == (not builds)


def test_timings_are_kept_for_each_tensorrt_and_gpu(place, trt, monkeypatch, capsys):
    run(place)
    run(place, "--force")
    assert [args for _, args, _ in calls(trt, "create_timing_cache")] == [(b"",), (b"timings 11.4.0.106 +",)]
    other_gpu(place, trt, monkeypatch)
    run(place)
    other_tensorrt(place, trt, monkeypatch)
    run(place)
    assert [args for _, args, _ in calls(trt, "create_timing_cache")[2:]] == [(b"",)] * 2
    assert len(list((place / "timings").iterdir())) == 3
    assert "ignoring" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"broken", b"timings of another"])
def test_timings_that_cannot_be_used_are_ignored_and_replaced(place, trt, capsys, content):
    run(place)
    [file] = (place / "timings").iterdir()
    file.write_bytes(content)
    assert run(place, "--force") == 0
    assert f"ignoring {file}: its timings are not of this TensorRT on this GPU" in capsys.readouterr().out
    assert file.read_bytes() == b"timings 11.4.0.106 +"


def spoiled(function):
    return lambda trt: setattr(trt, "spoil", function)


def swap(logits):
    """The logits of the two best classes."""
    rows, order = np.arange(len(logits)), logits.argsort(1)
    logits = logits.copy()
    logits[rows, order[:, -1]], logits[rows, order[:, -2]] = logits[rows, order[:, -2]], logits[rows, order[:, -1]]
    return logits


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda trt: trt.parser_errors.extend(["not known", "no Bar"]),
            [
                "TensorRT 11.4.0.106 cannot parse ",
                "model.fp16.onnx: Foo: not known; Foo: no Bar (its log: ",
                "plan.log)",
            ],
        ),
        (
            lambda trt: setattr(trt, "build_error", "no tactics"),
            ["could not build ", ".onnx: no tactics (its log"],
        ),
        (lambda trt: setattr(trt, "no_room", True), ["vgg19_bn_cqt does not run: The GPU has no room for "]),
        (lambda trt: setattr(trt.cuda, "room", 1 << 20), ["does not run: CUDA: fake cudaErrorMemoryAllocation"]),
        (
            spoiled(lambda logits: 3 * logits),
            ["differ from ONNX Runtime's by", "at most 0.01 is accepted", "PRECISION=fp32 python -m"],
        ),
        (spoiled(lambda logits: np.nan * logits), ["differ from ONNX Runtime's by nan on average"]),
    ],
)
def test_what_fails_leaves_the_former_plan(place, trt, capsys, spoil, words):
    run(place)
    before = state(place)
    spoil(trt)
    assert run(place, "--force") == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert len(error.splitlines()) == 1
    assert state(place) == before


def test_another_label_is_refused_where_the_margin_is_wide(place, trt, monkeypatch, capsys):
    """Even where every probability is close enough."""
    trt.spoil = swap
    monkeypatch.setattr(tensorrt, "MAX_DIFFERENCE", 0.3)
    monkeypatch.setattr(tensorrt, "TIE", 0.3)  # more than the two classes are apart
    assert run(place) == 0
    assert report(place)["parity"]["agreement"] == 0
    monkeypatch.setattr(tensorrt, "TIE", 1e-6)  # less
    assert run(place, "--force") == 2
    assert "12 of 12 rows get a clearly different answer" in capsys.readouterr().err


def test_killed_before_the_report_nothing_vouches_for_the_plan(place, monkeypatch):
    run(place)
    monkeypatch.setattr(derived, "sha256", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    report = {"parity": {"max_probability_difference": 0.0}}
    monkeypatch.setattr(tensorrt, "compare", lambda *_: report)  # no runtime's threads in a forked process
    child = os.fork()
    if child == 0:
        run(place, "--force")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (folder_of(place) / "plan.json").exists()


def without_gpu(place, trt, monkeypatch):
    monkeypatch.setattr(tensorrt, "find_gpu", lambda: None)


def without_tensorrt(place, trt, monkeypatch):
    def missing():
        raise ImportError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(tensorrt, "load_tensorrt", missing)


def without_cuda(place, trt, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cuda.bindings.runtime", None)


def with_an_old_driver(place, trt, monkeypatch):
    monkeypatch.setattr(trt.cuda, "started", trt.cuda.cudaError_t.cudaErrorInsufficientDriver)


def too_old(place, trt, monkeypatch):
    trt.__version__ = "10.9.0.34"


@pytest.mark.parametrize(
    ("lack", "why"),
    [
        (without_gpu, "there is no NVIDIA GPU here"),
        (without_tensorrt, "TensorRT cannot be imported (libnvinfer.so.11: cannot open"),
        (without_cuda, "CUDA's runtime cannot be imported"),
        (
            with_an_old_driver,
            "CUDA's runtime does not start with driver 580.65.06 (fake cudaErrorInsuff",
        ),
        (too_old, "TensorRT 10.9.0.34 is too old, 10.12 or later is needed"),
    ],
)
def test_where_it_is_impossible_one_line_says_why_and_nothing_is_written(
    place, trt, monkeypatch, capsys, lack, why
):
    made = []
    monkeypatch.setattr(fp16, "export", lambda system, *_, **__: made.append(system))
    lack(place, trt, monkeypatch)
    before = state(place)
    assert run(place) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"export tensorrt: {why}") and len(said.err.splitlines()) == 1 and not said.out
    assert not made
    assert run(place, "--if-possible") == 0
    said = capsys.readouterr()
    skipped = "FP16 and TensorRT" if lack == without_gpu else "TensorRT"
    assert said.out.startswith(f"skipping {skipped}: {why}") and len(said.out.splitlines()) == 1
    assert made == ([] if lack == without_gpu else [SYSTEM])  # for ONNX Runtime, with a GPU
    assert not said.err
    assert state(place) == before


@pytest.mark.parametrize("version", ["10.12.0.36", "10.13.3.9", "11.0.0"])
def test_versions_that_will_do(place, trt, version):
    trt.__version__ = version
    assert run(place) == 0
    assert report(place)["tensorrt"] == version


NO_INT8 = "vgg19_bn_cqt has no INT8 network of its present weights in "


def lose_int8(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["int8"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def int8_of_other_weights(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["int8"]["made_from"]["sha256"] = "of others"
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lose_int8, NO_INT8),
        (int8_of_other_weights, NO_INT8),
        (lambda folder: (folder / "model.int8.onnx").write_bytes(b"cut"), NO_INT8),
        (lambda folder: (folder / "model.int8.onnx").unlink(), NO_INT8),
        (lambda folder: (folder / "manifest.json").unlink(), "there is no exported network in"),
        (lambda folder: shutil.rmtree(folder.parent / "configs"), "tensorrt.pbtxt is missing"),
    ],
)
def test_without_a_network_to_build_from(place, capsys, change, words):
    change(folder_of(place))
    assert run(place, "--precision=int8") == 2
    error = capsys.readouterr().err
    assert words in error and (words != NO_INT8 or error.endswith(": run make int8\n"))
    assert not list(place.rglob("*.plan"))


def test_int8_is_for_the_genre_systems(place, capsys):
    with pytest.raises(SystemExit) as error:
        run(place, "--precision=int8", system=SPEECH)
    assert error.value.code == 2
    assert "emotion2vec_plus_large has no INT8 network; choose from" in capsys.readouterr().err
