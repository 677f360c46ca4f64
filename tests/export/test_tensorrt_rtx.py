"""`python -m export tensorrt_rtx` with NVIDIA's real builder: what is written, when anew, and when nothing is."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from export import fp16, tensorrt_rtx
from export.errors import ExportError
from server.gpu import Gpu
from systems import SYSTEMS
from tests.support import exported
from tests.support.plans import SPEECH, SYSTEM, declare, folder_of, write_network, write_repository
from tests.support.rtx import real, watch

trt = real()
LATER = ["8.6", "8.9", "12.0", "12.1"]
RTX4090 = Gpu("NVIDIA GeForce RTX 4090", "8.9", 1 << 34, "580.65.06")


@pytest.fixture
def place(monkeypatch, tmp_path):
    """A repository on a machine without a GPU."""
    monkeypatch.setattr(tensorrt_rtx, "find_gpu", lambda: None)
    monkeypatch.setattr(fp16, "export", lambda *_, **__: False)
    return write_repository(tmp_path)


def run(place, *arguments, system=SYSTEM):
    return tensorrt_rtx.main([system.name, f"--repository={place / 'models'}", *arguments])


def report(place, system=SYSTEM):
    return json.loads((folder_of(place, system) / "plan.rtx.json").read_text())


def state(place):
    """All that is written, but for the builder's log."""
    return {name: content for name, content in exported.state(place).items() if not name.endswith(".log")}


def test_the_report(place, capsys):
    assert run(place) == 0
    folder, made = folder_of(place), report(place)
    plan, network = (folder / "model.rtx.plan").read_bytes(), exported.entry(folder / "model.fp16.onnx")
    assert made.pop("seconds") > 0 and made.pop("created").startswith("20")
    assert made == {
        "format": 1,
        "file": "model.rtx.plan",
        **exported.entry(folder / "model.rtx.plan"),
        "precision": "fp16",
        "tensorrt_rtx": trt.__version__,
        "compute_capabilities": LATER,
        "onnx": {"file": "model.fp16.onnx", **network},
        "made_from": exported.entry(folder / "model.onnx"),
        "profile": {"ROWS": {"min": [1, 3, 224, 224], "opt": [16, 3, 224, 224], "max": [32, 3, 224, 224]}},
    }
    assert len(plan) > 1000
    assert "Engine generation completed" in (folder / "model.rtx.plan.log").read_text()
    said = capsys.readouterr().out
    assert (
        "not compared with ONNX Runtime: there is no GPU of compute capability 8.6 or 8.9 or 12.0 or 12.1" in said
    )


def test_rows_of_any_length_have_the_shapes_of_the_warm_ups(place, monkeypatch):
    seen = watch(trt, monkeypatch)
    assert run(place, system=SPEECH) == 0
    wav, length = ([1, 19920], [8, 78800], [32, 488400]), ([1, 1], [8, 1], [32, 1])  # 1.3, 5 and 30.5 s
    assert seen[0].profiles == [{"WAV": list(wav), "LENGTH": list(length)}]
    assert seen[0].inputs == {"WAV": ("FLOAT", [-1, -1]), "LENGTH": ("INT64", [-1, 1])}
    assert seen[0].capabilities == ["SM86", "SM89", "SM120", "SM121"]


def change_weights(place, monkeypatch):
    write_network(folder_of(place) / "model.onnx", SYSTEM)
    declare(folder_of(place))


def change_shapes(place, monkeypatch):
    config = folder_of(place).parent / "configs" / "tensorrt_rtx.pbtxt"
    config.write_text(config.read_text().replace("[ 8, 16 ]", "[ 8 ]"))


def cut(place, monkeypatch):
    (folder_of(place) / "model.rtx.plan").write_bytes(b"cut")


def other_version(place, monkeypatch):
    monkeypatch.setattr(trt, "__version__", "1.8.0.1")


def no_report(place, monkeypatch):
    (folder_of(place) / "plan.rtx.json").unlink()


def a_card(place, monkeypatch):
    monkeypatch.setattr(tensorrt_rtx, "find_gpu", lambda: RTX4090)


@pytest.mark.parametrize(
    ("change", "arguments", "builds"),
    [
        (None, [], 0),
        (a_card, [], 0),
        (None, ["--force"], 1),
        *((c, [], 1) for c in (change_weights, change_shapes, cut, other_version, no_report)),
    ],
)
def test_it_is_built_again_only_where_something_changed(place, monkeypatch, capsys, change, arguments, builds):
    assert run(place) == 0
    (folder_of(place) / "model.rtx.cache").write_bytes(b"compiled")
    if change:
        change(place, monkeypatch)
    seen = watch(trt, monkeypatch)
    monkeypatch.setattr(tensorrt_rtx, "compare", lambda *_: {})
    capsys.readouterr()
    assert run(place, *arguments) == 0
    assert len(seen) == builds
    assert ("nothing to do" in capsys.readouterr().out) == (not builds)
    assert (folder_of(place) / "model.rtx.cache").exists() == (not builds)  # it is of the former plan


def test_fp16_is_made_first(place, monkeypatch):
    made = []
    monkeypatch.setattr(fp16, "export", lambda system, repository, *_, **__: made.append((system, repository)))
    assert run(place) == 0
    assert made == [(SYSTEM, place / "models")]


def test_where_a_card_can_run_the_plan_it_is_compared_and_what_that_compiled_is_kept(place, monkeypatch):
    def compare(system, onnx, plan, profile, kind):
        assert (system, onnx, kind) == (SYSTEM, folder_of(place) / "model.fp16.onnx", tensorrt_rtx.RtxPlan)
        assert plan.stat().st_size > 1000 and profile["ROWS"][2] == (32, 3, 224, 224)
        plan.with_suffix(".cache").write_bytes(b"compiled")
        if fault:
            raise ExportError("it answers otherwise")
        return {"device_memory_bytes": 5, "parity": {"rows": 12}}

    fault = False
    monkeypatch.setattr(tensorrt_rtx, "compare", compare)
    monkeypatch.setattr(tensorrt_rtx, "load_cuda", lambda: None)
    a_card(place, monkeypatch)
    assert run(place) == 0
    assert report(place)["parity"] == {"rows": 12}
    assert (folder_of(place) / "model.rtx.cache").read_bytes() == b"compiled"
    before, fault = state(place), True
    assert run(place, "--force") == 2
    assert state(place) == before


def test_a_card_without_cuda_s_package_builds_and_says_so(place, monkeypatch, capsys):
    def missing():
        raise ImportError("no cuda")

    monkeypatch.setattr(tensorrt_rtx, "load_cuda", missing)
    a_card(place, monkeypatch)
    assert run(place) == 0
    assert "not compared with ONNX Runtime: CUDA's runtime cannot be imported (no cuda)" in capsys.readouterr().out


TURING = "Turing (SM75): FP32 GEMM is not supported"


@pytest.mark.parametrize("how", ["asked", "found"])
def test_turing_has_a_plan_of_its_own_and_no_products_in_float32(place, monkeypatch, capsys, how):
    """The small network is one such product."""
    run(place)
    before = state(place)
    if how == "found":
        monkeypatch.setattr(tensorrt_rtx, "find_gpu", lambda: Gpu("Tesla T4", "7.5", 1 << 34, "580.65.06"))
    assert run(place, *(["--turing"] if how == "asked" else [])) == 2
    error = capsys.readouterr().err
    assert error.startswith("export tensorrt_rtx: TensorRT-RTX 1.") and len(error.splitlines()) == 1
    assert TURING in error and error.endswith("; serve it as variant cuda on such cards\n")
    assert state(place) == before


def unknown_operator(place):
    path = folder_of(place) / "model.fp16.onnx"
    path.write_bytes(path.read_bytes().replace(b"MatMul", b"MutMal"))


def impossible_shapes(place):
    config = folder_of(place).parent / "configs" / "tensorrt_rtx.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 32", "max_batch_size: 8"))


def other_inputs(place):
    config = folder_of(place).parent / "configs" / "tensorrt_rtx.pbtxt"
    config.write_text(config.read_text().replace('"ROWS"', '"PICTURES"'))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            unknown_operator,
            [" cannot parse ", "model.fp16.onnx: MutMal: ", "Plugin not found", " (its log: ", "rtx.plan.log)"],
        ),
        (impossible_shapes, [" does not accept the shapes {'ROWS': ((1, 3, 224, 224), (16, 3, 224, 224), (8, 3,"]),
        (other_inputs, ["takes ROWS, the model configuration declares PICTURES"]),
    ],
)
def test_what_fails_leaves_the_former_plan(place, capsys, spoil, words):
    run(place)
    spoil(place)
    before = state(place)
    assert run(place, "--force") == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert len(error.splitlines()) == 1
    assert state(place) == before


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT interrupts, also where these tests run in the background of a shell, which has them ignore it."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_stops_the_builder(place, monkeypatch, capsys):
    run(place)
    before, plans = state(place), []

    class Interrupted(trt.Builder):
        def build_serialized_network(self, network, config):
            time.sleep(0.05)  # until the thread has been started
            os.kill(os.getpid(), signal.SIGINT)
            while not config.progress_monitor.stopped:
                time.sleep(0.01)
            plans.append(super().build_serialized_network(network, config))

    monkeypatch.setattr(trt, "Builder", Interrupted)
    assert run(place, "--force") == 130
    assert capsys.readouterr().err == (
        "export tensorrt_rtx: interrupted; the former plan, if there was one, is unchanged\n"
    )
    assert plans == [None] and "BuildCanceled" in (folder_of(place) / "model.rtx.plan.log").read_text()
    assert state(place) == before


def test_without_tensorrt_rtx_one_line_says_so(place, monkeypatch, capsys):
    def missing():
        raise ImportError("the package tensorrt_rtx is not installed")

    monkeypatch.setattr(tensorrt_rtx, "load_tensorrt_rtx", missing)
    assert run(place) == 2
    assert capsys.readouterr().err == (
        "export tensorrt_rtx: TensorRT-RTX cannot be imported (the package tensorrt_rtx is not installed);"
        " install it: make tensorrt_rtx\n"
    )


def test_every_system_can_have_one():
    assert all(system.can("tensorrt_rtx") for system in SYSTEMS.values())
