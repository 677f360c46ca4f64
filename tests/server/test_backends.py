"""The Python-based backends: real ones in a real Triton, and their common part alone."""

import json
import os
import re
import signal
import sys
import threading
import time
import types
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import onnxruntime
import pytest
from tritonclient.utils import InferenceServerException

from server.process import HURRY
from tests.support import tiny
from tests.support.backends import BACKENDS, CONFIG, Request, Response, logged
from tests.support.launcher import infer, shared_memory
from tests.support.waiting import wait_until


def network_counts(launcher) -> tuple[int, int]:
    """Rows and executions of the network so far."""
    with urllib.request.urlopen(f"{launcher.http}/v2/models/tiny_network/stats") as response:
        [statistics] = json.load(response)["model_stats"]
    return statistics["inference_count"], statistics["execution_count"]


def test_rows_of_several_requests_are_joined_and_each_gets_its_own(running):
    rng = np.random.default_rng(0)
    requests = [rng.uniform(-1, 1, (n, 3)).astype(np.float32) for n in (1, 4, 2, 7, 3, 1, 5, 2)]
    rows_before, executions_before = network_counts(running)
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(lambda rows: infer(running, rows), requests))
    rows, executions = network_counts(running)
    assert rows - rows_before == 25
    assert executions - executions_before < len(requests)  # some shared an execution
    for request, answer in zip(requests, answers, strict=True):
        # bfloat16 has 8 bits of mantissa
        np.testing.assert_allclose(answer, request @ tiny.WEIGHTS + tiny.BIAS, atol=0.05)


def test_many_rows_in_one_request(running):
    rows = np.random.default_rng(1).uniform(-1, 1, (20, 3)).astype(np.float32)
    np.testing.assert_allclose(infer(running, rows), rows @ tiny.WEIGHTS + tiny.BIAS, atol=0.05)


def test_the_whole_chain_and_a_refused_recording_beside_it(running):
    with ThreadPoolExecutor(6) as pool:
        good = [pool.submit(running.classify, tiny.wav(n, 0.25 + n / 64)) for n in (1, 2, 3, 4, 5)]
        bad = pool.submit(running.classify, b"not a song")
    for n, answer in enumerate((future.result() for future in good), 1):
        assert answer["rows"] == n
        assert answer["sum"] == pytest.approx(tiny.expected(n, 0.25 + n / 64), rel=0.02)
    with pytest.raises(urllib.error.HTTPError) as refused:
        bad.result()
    assert refused.value.code == 400
    assert b"not a WAV file" in refused.value.read()


def test_a_server_that_is_missed_does_not_run_what_only_warms(backend, monkeypatch):
    monkeypatch.setenv(HURRY, "1")
    model = backend(model_warmup=[{"name": "batch of 1"}, {"name": "batch of 4"}])
    monkeypatch.setattr(model, "run", run := Mock(wraps=model.run))
    rows = np.ones((4, 3), np.float32)
    for n in (1, 4):
        [response] = model.execute([Request(rows[:n])])
        [zeros] = response.outputs
        assert not run.called and zeros.name == "LOGITS" and zeros.as_numpy().dtype == np.float32
        np.testing.assert_array_equal(zeros.as_numpy(), np.zeros((n, 2)))
    [response] = model.execute([Request(rows)])
    np.testing.assert_allclose(response.outputs[0].as_numpy(), rows @ tiny.WEIGHTS + tiny.BIAS, atol=0.05)


def test_rows_run_a_few_at_a_time(backend, monkeypatch):
    model = backend()
    run, sizes = model.run, []

    def record(inputs, outputs):
        sizes.append(len(inputs["ROWS"]))
        return run(inputs, outputs)

    monkeypatch.setattr(model, "run", record)
    rows = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    responses = model.execute([Request(rows[:7]), Request(rows[7:12]), Request(rows[12:])])
    assert sizes == [8, 8, 4]
    answer = np.concatenate([response.outputs[0].as_numpy() for response in responses])
    np.testing.assert_allclose(answer, rows @ tiny.WEIGHTS + tiny.BIAS, atol=0.05)


def test_a_request_that_spoils_the_batch_fails_alone(backend, monkeypatch):
    model = backend()
    run = model.run

    def spoiled(inputs, outputs):
        if np.isnan(inputs["ROWS"]).any():
            raise ValueError("cannot run this")
        return run(inputs, outputs)

    monkeypatch.setattr(model, "run", spoiled)
    good = np.ones((2, 3), np.float32)
    requests = [Request(good), Request(np.full((1, 3), np.nan, np.float32)), Request(good), Request(good, True)]
    first, bad, second, cancelled, unreadable = model.execute([*requests, Request(None)])
    for response in (first, second):
        np.testing.assert_allclose(response.outputs[0].as_numpy(), good @ tiny.WEIGHTS + tiny.BIAS, atol=0.05)
    assert re.fullmatch(
        r"tiny_network failed on this request; the server's log has the cause \([0-9a-f]{8}\)\.", str(bad.error)
    )
    assert "cannot run this" in logged[-1] and str(bad.error)[-10:-2] in logged[-1]
    assert "cancelled" in str(cancelled.error)
    assert "tiny_network failed on this request" in str(unreadable.error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"default_model_filename": "other.onnx"}, "other.onnx is missing: run make export"),
        ({"max_batch_size": 0}, "max_batch_size must be at least 1"),
        ({"output": [CONFIG["output"][0] | {"dims": ["4"]}]}, r"LOGITS has the shape \[-1, 2\].*\[-1, 4\]"),
        ({"output": [CONFIG["output"][0] | {"name": "OTHER"}]}, "no output OTHER, only LOGITS"),
        ({"input": [CONFIG["input"][0] | {"data_type": "TYPE_INT32"}]}, "float32 in the network, int32 in config"),
        ({"input": []}, "config.pbtxt lacks the input ROWS"),
    ],
)
def test_a_network_that_does_not_fit_its_configuration_is_refused(backend, changes, words):
    with pytest.raises(RuntimeError, match=words):
        backend(**changes)


def test_settings_of_the_configuration_reach_the_runtime(backend):
    parameters = {
        "intra_op_thread_count": {"string_value": "1"},
        "INFERENCE_NUM_THREADS": {"string_value": "1"},
        "HINT_BF16": {"string_value": "NO"},
    }
    model = backend(parameters=parameters)
    if hasattr(model, "session"):
        assert model.session.get_session_options().intra_op_num_threads == 1
    else:
        assert model.network.get_property("INFERENCE_NUM_THREADS") == 1
        assert model.network.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_a_network_with_another_number_of_classes_stops_the_start(launch, tiny_repository):
    tiny.write_network(tiny_repository / "tiny_network/1/model.onnx", classes=5)
    tiny.declare(tiny_repository)  # so that the start comes as far as Triton
    launcher = launch()
    assert launcher.process.wait(60) == 2
    last = launcher.log.strip().splitlines()[-1]
    assert "Triton did not start" in last
    assert "LOGITS has the shape [-1, 5]" in last


@pytest.mark.parametrize(
    ("values_at_a_time", "sizes"), [("2", [1] * 19), ("8", [2] * 9 + [1]), ("99", [8, 8, 2, 1])]
)
def test_rows_run_together_up_to_a_number_of_values(backend, values_at_a_time, sizes):
    """In powers of two, so that a runtime that prepares itself for each shape meets few; at least one row."""
    model, seen = backend(parameters={"values_at_a_time": {"string_value": values_at_a_time}}), []
    run = model.run
    model.run = lambda inputs, outputs: seen.append(len(inputs["ROWS"])) or run(inputs, outputs)
    rows = np.random.default_rng(2).uniform(-1, 1, (19, 3)).astype(np.float32)
    answers = model.execute([Request(rows[i : i + 1]) for i in range(19)])
    found = np.concatenate([answer.outputs[0].as_numpy() for answer in answers])
    np.testing.assert_allclose(found, rows @ tiny.WEIGHTS + tiny.BIAS, atol=0.05)
    assert seen == sizes


def test_a_client_that_has_gone_costs_the_network_nothing(backend):
    model, seen = backend(), []
    nan_fails(model, seen)
    gone, there = Request(block(2, 1.0), cancelled=True), Request(block(2, 2.0))
    first, second = model.execute([gone, there])
    assert "cancelled" in str(first.error) and len(logits(second)) == 2 and seen == [2.0]


def nan_fails(model, seen: list[float], seconds: float = 0.0) -> None:
    """Let the network take so long for each execution, note the first number, and break down at NaN."""
    run = model.run

    def wrapped(inputs, outputs):
        seen.append(float(inputs["ROWS"][0, 0]))
        time.sleep(seconds)
        if np.isnan(inputs["ROWS"]).any():
            raise ValueError("cannot run this")
        return run(inputs, outputs)

    model.run = wrapped


def block(rows: int, value: float) -> np.ndarray:
    return np.full((rows, 3), value, np.float32)


def logits(response: Response) -> np.ndarray:
    assert response.error is None
    return response.outputs[0].as_numpy()


def test_a_long_request_is_answered_later_and_prompt_ones_do_not_wait_for_its_end(backend, monkeypatch):
    model, seen = backend(), []
    monkeypatch.setattr(sys.modules["rows"], "PATIENCE", 0.0)
    nan_fails(model, seen, seconds=0.1)
    long, bad = Request(block(32, 1.0)), Request(np.concatenate([block(8, 2.0), block(8, np.nan)]))
    assert model.execute([long, bad]) == [None, None]
    long.rows.as_numpy()[:] = 5.0  # its shared memory belongs to others now
    prompt = [Request(block(1, 3.0)), Request(block(1, np.nan)), Request(block(2, 4.0))]
    first, broken, second = model.execute(prompt)
    assert not long.sent.done()
    np.testing.assert_allclose(logits(first), block(1, 3.0) @ tiny.WEIGHTS + tiny.BIAS, atol=0.1)
    np.testing.assert_allclose(logits(second), block(2, 4.0) @ tiny.WEIGHTS + tiny.BIAS, atol=0.1)
    assert "failed on this request" in str(broken.error)
    np.testing.assert_allclose(logits(long.sent.result(10)), block(32, 1.0) @ tiny.WEIGHTS + tiny.BIAS, atol=0.05)
    assert "failed on this request" in str(bad.sent.result(10).error)
    assert seen.count(1.0) == 4


def test_while_answers_are_owed_a_file_says_so(backend, monkeypatch, tmp_path):
    model, pending = backend(), tmp_path / "region.pending"
    model.execute([Request(block(20, 1.0)), Request(block(1, 1.0))])
    assert not pending.exists()
    monkeypatch.setattr(sys.modules["rows"], "PATIENCE", 0.0)
    nan_fails(model, [], seconds=0.1)
    requests = [Request(block(16, 1.0)), Request(block(16, np.nan))]
    model.execute(requests)
    assert pending.exists()
    for request in requests:
        request.sent.result(10)
    wait_until(lambda: not pending.exists(), 5)


def test_a_long_request_that_is_soon_done_is_answered_at_once(backend):
    long = Request(block(20, 1.0))
    [response] = backend().execute([long])
    np.testing.assert_allclose(logits(response), block(20, 1.0) @ tiny.WEIGHTS + tiny.BIAS, atol=0.05)
    assert not long.sent.done()


def test_the_next_long_request_is_not_waited_for(backend, monkeypatch):
    """Otherwise each of many would hold up the others for as long as execute() is patient."""
    model, seen = backend(), []
    nan_fails(model, seen, seconds=0.2)
    monkeypatch.setattr(sys.modules["rows"], "PATIENCE", 0.1)
    requests = [Request(block(16, float(n))) for n in range(5)]
    assert [model.execute([request]) for request in requests] == [[None]] * 5
    assert len(seen) <= 2
    assert all(len(logits(request.sent.result(10))) == 16 for request in requests)


def test_a_long_request_stops_when_its_client_has_gone(backend, monkeypatch):
    model, seen = backend(), []
    monkeypatch.setattr(sys.modules["rows"], "PATIENCE", 0.0)
    nan_fails(model, seen, seconds=0.1)
    long, before = Request(block(32, 1.0)), len(logged)
    assert model.execute([long]) == [None]
    long.cancelled = True
    assert "cancelled" in str(long.sent.result(10).error)
    assert len(seen) <= 1 and len(logged) == before  # a client that goes away is no fault


def test_what_is_still_waited_for_is_answered_before_the_end(backend, monkeypatch):
    model, seen = backend(), []
    monkeypatch.setattr(sys.modules["rows"], "PATIENCE", 0.0)
    nan_fails(model, seen, seconds=0.05)
    long = Request(block(32, 1.0))
    model.execute([long])
    model.finalize()
    assert len(seen) == 4 and len(logits(long.sent.result(0))) == 32


class Executions:
    """Jobs for `Scheduler` whose every execution is written down; the first waits until it may start."""

    def __init__(self, scheduler) -> None:
        self.scheduler, self.order, self.start = scheduler, [], threading.Event()

    def add(self, name: str, count: int, long: bool = True, seconds: float = 0.02, rows: int = 1) -> Future:
        def steps():
            for k in range(count):
                if k:
                    yield
                self.start.wait()
                time.sleep(seconds)
                self.order.append(name)
            return name

        return self.scheduler.add(sys.modules["scheduler"].Job(steps(), rows, count), long)


@pytest.fixture
def executions(backend):
    scheduler = sys.modules["scheduler"].Scheduler()
    yield Executions(scheduler)
    scheduler.close()


on_one_backend = pytest.mark.parametrize("backend", ["onnxruntime"], indirect=True)


@on_one_backend
def test_the_shortest_and_the_oldest_long_job_take_turns(executions):
    jobs = [executions.add("a", 6), executions.add("b", 5), executions.add("c", 2)]
    executions.start.set()
    assert [job.result(10) for job in jobs] == ["a", "b", "c"]
    # a is the oldest, c has least left; then a is both.
    assert "".join(executions.order) == "acac" + "aaaa" + "bbbbb"


@on_one_backend
def test_prompt_jobs_have_as_much_time_as_an_execution_of_a_long_one_takes(executions):
    executions.add("L", 4, seconds=0.2)
    prompt = executions.add("p", 30, long=False, seconds=0.02)
    executions.start.set()
    prompt.result(10)
    order = "".join(executions.order)
    runs = [len(run) for run in order.split("L")]
    assert runs[0] == 0 and order.count("L") in (3, 4)  # it starts at once, and is not starved
    assert all(5 <= run <= 11 for run in runs[1:3])


@on_one_backend
def test_a_job_that_breaks_down_leaves_the_others_alone(executions):
    broken = executions.add("a", 2, seconds=-1)  # time.sleep refuses it
    good = executions.add("b", 2)
    executions.start.set()
    with pytest.raises(ValueError, match="non-negative"):
        broken.result(10)
    assert good.result(10) == "b"


@on_one_backend
def test_a_long_job_waits_for_room(executions):
    most = sys.modules["scheduler"].ROWS_THAT_WAIT
    executions.add("a", 2, rows=most + 1)  # alone it may have any number
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(executions.add, "b", 1, rows=1)
        time.sleep(0.1)
        assert not second.done()
        executions.start.set()
        assert second.result(10).result(10) == "b"
    assert executions.order == ["a", "a", "b"]


SLOW = f"""
import sys, time
import numpy as np
sys.path.insert(0, {str(BACKENDS)!r})
from rows import NetworkBackend

class TritonPythonModel(NetworkBackend):
    def load(self, model):
        return {{"ROWS": (np.dtype("f4"), [-1, 3])}}, {{"LOGITS": (np.dtype("f4"), [-1, 2])}}

    def run(self, inputs, outputs):
        rows = inputs["ROWS"]
        time.sleep(0.05 * len(rows))
        if (rows < -0.5).any():  # not a probe: the mean of a tone may be a little below 0
            raise ValueError("below zero")
        return [rows[:, :2] * 2]
"""


@pytest.fixture
def slow(tiny_repository, launch):
    """The tiny system with a network whose rows take 50 ms each: 1.6 s a long request."""
    (tiny_repository / "tiny_network/1/model.py").write_text(SLOW)
    config = (tiny.NETWORK % ("tiny_network", "python")).replace('default_model_filename: "model.onnx"', "")
    (tiny_repository / "tiny_network/config.pbtxt").write_text(config)
    return launch().until_ready()


def test_long_requests_end_when_the_process_of_their_network_does(slow):
    """Its pending answers are lost; the client sees a broken connection at once, and may ask again."""
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(infer, slow, block(32, 1.0))
        wait_until(lambda: any(name.endswith(".pending") for name in shared_memory(slow.memory_prefix())), 5)
        start = time.monotonic()
        os.kill(slow.stubs("tiny_network")[0], signal.SIGKILL)
        with pytest.raises(OSError):
            long.result()
        assert time.monotonic() - start < 5
    wait_until(lambda: "is ready again" in slow.log, 10)
    assert "with unfinished long requests" in slow.log
    np.testing.assert_array_equal(infer(slow, block(32, 1.0)), block(32, 2.0)[:, :2])
    assert not any(name.endswith(".pending") for name in shared_memory(slow.memory_prefix()))


def test_in_triton_a_short_request_does_not_wait_for_the_end_of_long_ones(slow):
    launcher, ended = slow, {}

    def ask(name: str, rows: np.ndarray) -> np.ndarray:
        try:
            return infer(launcher, rows)
        finally:
            ended[name] = time.monotonic()

    bad = np.concatenate([block(16, 1.0), block(16, -1.0)])
    with ThreadPoolExecutor(4) as pool:
        long, failing = pool.submit(ask, "long", block(32, 1.0)), pool.submit(ask, "failing", bad)
        time.sleep(0.2)
        start = time.monotonic()
        short = pool.submit(ask, "short", block(1, 3.0))
        np.testing.assert_array_equal(short.result(), block(1, 6.0)[:, :2])
        np.testing.assert_array_equal(long.result(), block(32, 2.0)[:, :2])
        with pytest.raises(
            InferenceServerException, match=r"tiny_network failed on this request; the server's log"
        ):
            failing.result()
    assert ended["short"] - start < 1.5 and ended["long"] - ended["short"] > 0.5
    wait_until(lambda: "below zero" in launcher.log)  # the launcher passes Triton's lines on


@pytest.fixture
def cuda(monkeypatch):
    """ONNX Runtime with what passes for the CUDA provider; what was asked of it, and whether it starts."""
    asked = types.SimpleNamespace(providers=None, preloaded=0, starts=True)

    class Session(onnxruntime.InferenceSession):
        def __init__(self, path, options, providers):
            asked.providers = providers
            super().__init__(path, options, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return ["CUDAExecutionProvider"] * asked.starts + super().get_providers()

    def preload_dlls():
        asked.preloaded += 1

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload_dlls)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    return asked


@pytest.mark.parametrize("backend", ["onnxruntime"], indirect=True)
def test_an_instance_on_a_gpu_runs_whole_batches_on_its_cuda_provider(backend, cuda):
    model, seen = backend("GPU", parameters={"cudnn_conv_algo_search": {"string_value": "1"}}), []
    strategy = {"arena_extend_strategy": "kNextPowerOfTwo"}
    options = {"device_id": "1", "cudnn_conv_algo_search": "HEURISTIC", **strategy}
    assert cuda.providers == [("CUDAExecutionProvider", options), "CPUExecutionProvider"]
    assert cuda.preloaded == 1
    run = model.run
    model.run = lambda inputs, outputs: seen.append(len(inputs["ROWS"])) or run(inputs, outputs)
    rows = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    answers = model.execute([Request(rows[:9]), Request(rows[9:])])
    assert seen == [20]
    found = np.concatenate([answer.outputs[0].as_numpy() for answer in answers])
    np.testing.assert_allclose(found, rows @ tiny.WEIGHTS + tiny.BIAS, atol=1e-5)


@pytest.mark.parametrize("backend", ["onnxruntime"], indirect=True)
def test_the_cuda_provider_gets_the_options_of_its_accelerator(backend, cuda):
    """As Triton's C++ backend passes them on: config.pbtxt is one for both."""

    def accelerated(name: str) -> dict:
        accelerator = {"name": name, "parameters": {"prefer_nhwc": "1"}}
        return {"execution_accelerators": {"gpu_execution_accelerator": [accelerator]}}

    backend("GPU", optimization=accelerated("cuda"))
    [(_, options), _] = cuda.providers
    assert options["prefer_nhwc"] == "1" and options["device_id"] == "1"
    with pytest.raises(RuntimeError, match="gpu_execution_accelerator must be 'cuda', not 'tensorrt'"):
        backend("GPU", optimization=accelerated("tensorrt"))


@pytest.mark.parametrize("backend", ["onnxruntime"], indirect=True)
def test_an_instance_on_a_gpu_does_not_run_on_the_cpu_without_a_word(backend, cuda, monkeypatch):
    cuda.starts = False
    with pytest.raises(RuntimeError, match=r"tiny_network: KIND_GPU needs .* could not start it; .* R580"):
        backend("GPU")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RuntimeError, match=r"and version [\d.]+ comes without it; make gpu installs"):
        backend("GPU")
