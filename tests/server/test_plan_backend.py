"""TensorRT plans behind Triton: the runner and the backend `tensorrt`, with fakes of TensorRT and CUDA."""

import json
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest

from server.backends.plan import Plan
from tests.support import fakes, tiny
from tests.support.backends import Request, logged
from tests.support.launcher import Launcher

SHAPES = {"ROWS": [[1, 3], [8, 3], [32, 3]]}


def write_plan(path: Path, version: str = "11.4.0.106") -> None:
    """The tiny network as a plan of the fake TensorRT."""
    tiny.write_network(path)
    path.write_bytes(json.dumps(["fake plan", version, SHAPES]).encode() + b"\n" + path.read_bytes())


@pytest.fixture
def cuda(monkeypatch):
    return fakes.install(monkeypatch)[1]


@pytest.fixture
def plan(tmp_path, cuda):
    write_plan(tmp_path / "model.plan")
    return Plan(tmp_path / "model.plan", device=2)


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
    with pytest.raises(ValueError, match=r"ROWS is \[33, 3\], the plan takes \[1, 3\] to \[32, 3\]"):
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


@pytest.mark.parametrize("backend", ["tensorrt"], indirect=True)
def test_the_backend_runs_whole_batches_on_its_instances_gpu(backend, cuda, tmp_path):
    write_plan(tmp_path / "model.plan")
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
    assert "ROWS is [33, 3], the plan takes [1, 3] to [32, 3]" in logged[-1]
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
def launch(tmp_path, packages):
    """Starts the tiny system with its network as a plan."""
    repository = tiny.write_repository(tmp_path / "models")
    write_plan(repository / "tiny_network/1/model.plan")
    config = (tiny.NETWORK % ("tiny_network", "tensorrt")).replace("model.onnx", "model.plan")
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


def test_the_backend_in_triton(launch):
    launcher = launch().until_ready()
    for n in (1, 3, 20):
        answer = launcher.classify(tiny.wav(n, 0.3))
        assert answer["rows"] == n
        assert answer["sum"] == pytest.approx(tiny.expected(n, 0.3), rel=1e-3)


def test_a_broken_plan_stops_the_start_with_a_sentence(launch):
    launcher = launch(model=b"broken")
    assert launcher.process.wait(60) == 2
    last = launcher.log.strip().splitlines()[-1]
    assert "tiny_network: TensorRT 11.4.0.106 cannot read" in launcher.log
    assert "Triton did not start" in last
