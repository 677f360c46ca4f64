"""Plans behind Triton: the runners and both backends, with fakes of TensorRT, TensorRT-RTX and CUDA."""

import shutil
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest

from server.backends import plan as plans
from server.backends.plan import Plan, RtxPlan
from tests.support import fakes, tiny
from tests.support.backends import Request, logged
from tests.support.launcher import Launcher
from tests.support.plans import write_plan

KINDS = {"tensorrt": Plan, "tensorrt_rtx": RtxPlan}
FILES = {"tensorrt": "model.plan", "tensorrt_rtx": "model.rtx.plan"}


@pytest.fixture
def fake(monkeypatch):
    """The fakes of CUDA and of TensorRT-RTX."""
    return fakes.install(monkeypatch)[1:]


@pytest.fixture
def cuda(fake):
    return fake[0]


@pytest.fixture
def rtx(fake):
    return fake[1]


@pytest.fixture(params=KINDS)
def plan(request, tmp_path, cuda):
    return KINDS[request.param](write_plan(tmp_path / FILES[request.param]), device=2)


def rows(n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, 3)).astype(np.float32)


def calls(cuda, name):
    return [args for function, args, _ in cuda.CALLS if function == name]


def test_batches_of_any_size_in_buffers_that_grow(plan, cuda):
    assert plan.inputs == {"ROWS": (np.float32, [-1, 3])} and plan.outputs == {"LOGITS": (np.float32, [-1, 2])}
    answers = []
    for n in (3, 1, 32, 5):  # all asked first: an answer must not lie in memory that the next one reuses
        answers.append((rows(n, n), *plan.run({"ROWS": rows(n, n)}, ["LOGITS"])))
    for asked, answer in answers:
        np.testing.assert_allclose(answer, asked @ tiny.WEIGHTS + tiny.BIAS, atol=1e-6)
    assert [size for (size,) in calls(cuda, "cudaMalloc")] == [3 * 12, 3 * 8, 32 * 12, 32 * 8]
    assert len(cuda.MEMORY) == 2  # the smaller ones were freed
    assert set(calls(cuda, "cudaSetDevice")) == {(2,)}
    plan.close()
    assert not cuda.MEMORY and not cuda.STREAMS


def test_rows_that_lie_scattered_or_have_another_type(plan):
    scattered = rows(8)[::-2]
    [answer] = plan.run({"ROWS": scattered.astype(np.float64)}, ["LOGITS"])
    np.testing.assert_allclose(answer, scattered @ tiny.WEIGHTS + tiny.BIAS, atol=1e-6)


def test_the_copies_share_one_stream_and_are_waited_for(plan, cuda):
    cuda.CALLS.clear()
    plan.run({"ROWS": rows(2)}, ["LOGITS"])
    names = [name for name, *_ in cuda.CALLS]
    assert names.count("cudaMemcpyAsync") == 2 and names[-1] == "cudaStreamSynchronize"
    assert {args[-1] for args in calls(cuda, "cudaMemcpyAsync")} == cuda.STREAMS


def test_a_shape_outside_the_profile_is_refused_and_harms_nothing(plan):
    with pytest.raises(ValueError, match=r"ROWS is \[33, 3\], the plan accepts \[1, 3\] to \[32, 3\]"):
        plan.run({"ROWS": rows(33)}, ["LOGITS"])
    [answer] = plan.run({"ROWS": rows(4)}, ["LOGITS"])
    np.testing.assert_allclose(answer, rows(4) @ tiny.WEIGHTS + tiny.BIAS, atol=1e-6)


def test_a_gpu_without_room_is_told_and_the_next_smaller_batch_runs(plan, cuda):
    plan.run({"ROWS": rows(2)}, ["LOGITS"])
    cuda.room = 200
    with pytest.raises(RuntimeError, match="CUDA: fake cudaErrorMemoryAllocation"):
        plan.run({"ROWS": rows(32)}, ["LOGITS"])
    [answer] = plan.run({"ROWS": rows(3)}, ["LOGITS"])
    np.testing.assert_allclose(answer, rows(3) @ tiny.WEIGHTS + tiny.BIAS, atol=1e-6)


def test_a_plan_of_another_tensorrt_is_refused(tmp_path, cuda):
    write_plan(tmp_path / "model.plan", version="10.14.1.48")
    with pytest.raises(
        RuntimeError, match=r"TensorRT 11.4.0.106 cannot read .*model.plan: Serialization assertion"
    ):
        Plan(tmp_path / "model.plan")


class Clock:
    """Seconds that a test lets pass."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def opened(tmp_path, rtx, monkeypatch):
    """Opens a plan of TensorRT-RTX, with the file of what it compiled, under a clock of the test's."""
    clock = Clock()
    monkeypatch.setattr(plans, "time", clock)
    path = write_plan(tmp_path / "model.rtx.plan")
    return lambda: (RtxPlan(path), path.with_name("model.rtx.cache"), clock)


def test_what_was_compiled_is_kept_beside_the_plan_and_used_again(opened):
    plan, kept, _ = opened()
    plan.run({"ROWS": rows(3)}, ["LOGITS"])
    assert not kept.exists()
    plan.close()
    assert kept.read_bytes() == b"card compiled"
    plan, kept, _ = opened()
    plan.run({"ROWS": rows(3)}, ["LOGITS"])
    plan.close()
    assert kept.read_bytes() == b"card compiled compiled"  # on top of what was there
    assert [path.name for path in kept.parent.iterdir() if path.name.startswith(kept.name)] == [kept.name]


def test_it_is_kept_while_serving_some_time_after_the_last_new_shape(opened):
    plan, kept, clock = opened()
    for n, seconds in ((3, 15), (5, 15), (3, 4)):  # 19 s after the five
        plan.run({"ROWS": rows(n)}, ["LOGITS"])
        clock.now += seconds
    plan.run({"ROWS": rows(3)}, ["LOGITS"])
    assert not kept.exists()
    clock.now += 2
    plan.run({"ROWS": rows(3)}, ["LOGITS"])
    assert kept.exists()
    kept.unlink()
    clock.now += 100
    plan.run({"ROWS": rows(5)}, ["LOGITS"])
    plan.close()
    assert not kept.exists()  # nothing new since


def test_what_another_card_compiled_is_replaced(opened, rtx):
    _, kept, _ = opened()
    kept.write_bytes(b"of another one")
    plan, kept, _ = opened()
    plan.run({"ROWS": rows(3)}, ["LOGITS"])
    plan.close()
    assert kept.read_bytes() == b"card compiled"


def test_a_folder_that_may_not_be_written_costs_no_answer(opened, monkeypatch):
    plan, kept, _ = opened()
    plan.run({"ROWS": rows(3)}, ["LOGITS"])
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(PermissionError("read-only")))
    plan.close()
    assert not kept.exists()


def test_kernels_for_a_shape_are_compiled_meanwhile_and_launched_as_a_graph(opened, rtx, monkeypatch):
    def strategies():
        rtx.CALLS.clear()
        opened()
        return [args[0].name for _, method, args, _ in rtx.CALLS if method.endswith("_strategy =")]

    assert strategies() == ["LAZY", "WHOLE_GRAPH_CAPTURE"]
    # Rows of any length: a graph of each would take memory.
    monkeypatch.setattr(rtx.ICudaEngine, "get_tensor_shape", lambda *_: [-1, -1])
    assert strategies() == ["LAZY"]
    [given] = [args for _, method, args, _ in rtx.CALLS if method == "create_execution_context"]
    assert isinstance(given[0], rtx.IRuntimeConfig)


@pytest.mark.parametrize("backend", KINDS, indirect=True)
def test_the_backend_runs_whole_batches_on_its_instances_gpu(backend, cuda, tmp_path):
    for file in FILES.values():
        write_plan(tmp_path / file)
    model, seen = backend("GPU", default_model_filename="model.plan"), []
    run = model.run
    model.run = lambda inputs, outputs: seen.append(len(inputs["ROWS"])) or run(inputs, outputs)
    answers = model.execute([Request(rows(9)), Request(rows(11, 1))])
    assert seen == [20]
    assert set(calls(cuda, "cudaSetDevice")) == {(1,)}
    for answer, asked in zip(answers, (rows(9), rows(11, 1)), strict=True):
        found = answer.outputs[0].as_numpy()
        np.testing.assert_allclose(found, asked @ tiny.WEIGHTS + tiny.BIAS, atol=1e-5)
    too_many, good = model.execute([Request(rows(33)), Request(rows(2))])
    assert "tiny_network failed on this request" in str(too_many.error)
    assert "ROWS is [33, 3], the plan accepts [1, 3] to [32, 3]" in logged[-1]
    assert good.error is None
    model.finalize()
    assert not cuda.MEMORY


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """The launcher and its steps run in a virtual environment with this one's packages and the two fakes."""
    folder = tmp_path / "packages"
    for name, file in fakes.FILES.items():
        target = folder / f"{name.replace('.', '/')}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    venv.create(tmp_path / "venv", symlinks=True)
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "fakes.pth").write_text(f"{folder}\n{sysconfig.get_path('purelib')}\n")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))


@pytest.fixture
def launch(request, tmp_path, packages):
    """Starts the tiny system with its network as a plan: of TensorRT, or as the test's parameter has it."""
    backend = getattr(request, "param", "tensorrt")
    repository = tiny.write_repository(tmp_path / "models")
    write_plan(repository / "tiny_network/1" / FILES[backend])
    config = (tiny.NETWORK % ("tiny_network", backend)).replace("model.onnx", FILES[backend])
    graphs = "graph_spec [ { batch_size: 1 }, { batch_size: 8 graph_lower_bound { batch_size: 2 } } ]"
    (repository / "tiny_network/config.pbtxt").write_text(
        f"{config} optimization {{ cuda {{ graphs: true {graphs} }} }}"
    )
    started = []

    def start(**changes: bytes) -> Launcher:
        for name, content in changes.items():
            (repository / f"tiny_network/1/{name}.plan").write_bytes(content)
        started.append(Launcher(tmp_path, repository, "--variant=onnxruntime"))
        return started[-1]

    yield start
    for launcher in started:
        launcher.stop()


@pytest.mark.parametrize("launch", KINDS, indirect=True)
def test_the_backend_in_triton(launch, tmp_path):
    launcher = launch().until_ready()
    for n in (1, 3, 20):
        answer = launcher.classify(tiny.wav(n, 0.3))
        assert answer["rows"] == n
        assert answer["sum"] == pytest.approx(tiny.expected(n, 0.3), rel=1e-3)
    launcher.stop()
    kept = [path.name for path in (tmp_path / "models/tiny_network/1").glob("*.cache*")]
    assert kept == (["model.rtx.cache"] if list(tmp_path.rglob("model.rtx.plan")) else [])


def test_a_broken_plan_stops_the_start_with_a_sentence(launch):
    launcher = launch(model=b"broken")
    assert launcher.process.wait(60) == 2
    last = launcher.log.strip().splitlines()[-1]
    assert "tiny_network: TensorRT 11.4.0.106 cannot read" in launcher.log
    assert "Triton did not start" in last
