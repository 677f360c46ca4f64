"""The benchmark on a GPU, as far as it goes without one: a CPU stands in, NVML and the figures are made up."""

import json
import math
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bench import __main__ as command
from bench import gpu, gpu_networks, nvml
from bench.baselines.network import classify
from bench.compare import Turn
from bench.errors import BenchError
from bench.gpu_networks import Contender, Runner, choose_ours, contenders
from bench.ideal import load_network
from bench.markdown import WIDTH
from bench.perf import PerfError
from bench.report import publish, read_results, section
from bench.suite import Scale, precision
from server.gpu import Gpu
from server.installation import ROOT
from server.variants import CUDA, TENSORRT, TENSORRT_RTX, Machine
from systems import SYSTEMS
from systems.variants import VARIANTS
from tests.bench.contenders import ending, failing, fast, slow, tiny
from tests.bench.figures import HEAD, TRITONE, A, line

VGG, VIT = "vgg19_bn_cqt", "vit_b_16_mel"
H200 = Gpu("NVIDIA H200", "9.0", 150_000_000_000, "580.65.06")
WITH_GPU = Machine(
    frozenset(), False, H200, onnxruntime_cuda=True, tensorrt="11.4.0.106", tensorrt_rtx="1.7.1.116"
)
ROWS = np.random.default_rng(0).random((6, 3, 8, 8), np.float32)


@pytest.fixture
def counted(monkeypatch):
    """A fake pynvml behind PyTorch's own functions; its GPU is busier and fuller each time one looks."""
    looks = {"utilisation": 0, "memory": 0, "device": set()}

    class NotSupported(Exception):
        pass

    def rates(handle):
        if looks["utilisation"] is None:
            raise NotSupported
        looks["device"].add(handle)
        looks["utilisation"] += 1
        return SimpleNamespace(gpu=10 * looks["utilisation"])

    def memory(handle):
        looks["memory"] += 1
        return SimpleNamespace(used=1_000_000 * min(looks["memory"], 3))

    fake = SimpleNamespace(
        nvmlInit=lambda: None,
        NVMLError_NotSupported=NotSupported,
        NVMLError_DriverNotLoaded=RuntimeError,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUtilizationRates=rates,
        nvmlDeviceGetMemoryInfo=memory,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "pynvml", fake, raising=False)
    monkeypatch.setattr(torch.cuda, "_HAS_PYNVML", True)
    monkeypatch.setattr(torch._utils, "_get_current_device_index", lambda: 0)  # which needs PyTorch's CUDA build
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    monkeypatch.setattr(nvml, "INTERVAL", 0.02)
    return looks


def test_the_first_second_does_not_count_as_utilisation(counted, monkeypatch):
    monkeypatch.setattr(nvml, "PERIOD", 0.2)
    with nvml.watch_gpu() as usage:
        time.sleep(0.15)
        assert usage.samples == [] and usage.utilisation is None
        time.sleep(0.3)
    n = len(usage.samples)
    assert 3 <= n <= 15 and usage.samples == pytest.approx([0.1 * k for k in range(1, n + 1)])
    assert usage.utilisation == pytest.approx(0.1 * (n + 1) / 2)
    assert usage.memory_mb == 3 and counted["device"] == {3}  # the first of those that are visible
    before = counted["memory"]
    time.sleep(0.1)
    assert counted["memory"] == before


def test_a_gpu_that_does_not_count_has_no_utilisation(counted, monkeypatch):
    monkeypatch.setattr(nvml, "PERIOD", 0.0)
    counted["utilisation"] = None
    with nvml.watch_gpu() as usage:
        time.sleep(0.1)
    assert usage.utilisation is None and usage.memory_mb == 3


@pytest.fixture
def watched(monkeypatch):
    """NVML that always says the same, and a process of 7 MB."""
    taken = iter([100.0, 200.0])

    class Watch:
        def __enter__(self):
            return nvml.Usage([0.25, 0.75], 207.0)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(gpu, "watch_gpu", Watch)
    monkeypatch.setattr(gpu, "memory_mb", lambda: next(taken))


def test_networks_are_compared_batch_by_batch(watched):
    expected = tiny(0)(ROWS)
    candidates = [Contender("slow", slow), Contender("fast", fast)]
    first, other = gpu.measure_networks(candidates, ROWS, expected, (1, 4), 2, 0.05)
    assert (first["name"], other["name"]) == ("slow", "fast")
    assert [network["memory_mb"] for network in (first, other)] == [107.0, 7.0]
    assert other["difference"] < 1e-6 and other["agreement"] == 1
    answers = tiny(1)(ROWS)
    assert first["difference"] == pytest.approx(np.abs(answers - expected).max(), abs=1e-6)
    assert first["agreement"] == pytest.approx((answers.argmax(1) == expected.argmax(1)).mean())
    for network in (first, other):
        assert [cell["batch"] for cell in network["batches"]] == [1, 4]
        for cell in network["batches"]:
            assert cell["rate"] == pytest.approx(1000 * cell["batch"] / cell["ms"])
            assert cell["utilisation"] == 0.5
    assert [cell["times"] for cell in first["batches"]] == [1, 1]
    for cell, slower in zip(other["batches"], first["batches"], strict=True):
        assert slower["ms"] == pytest.approx(10_000 * cell["batch"], rel=0.01)
        assert cell["ms"] == pytest.approx(1_000 * cell["batch"], rel=0.01)
        assert cell["times"] == pytest.approx(10, rel=0.01)


def test_a_network_that_fails_is_named():
    with pytest.raises(BenchError, match="^bad failed: RuntimeError: CUDA error: no kernel image$"):
        Runner(Contender("bad", failing), ROWS).__enter__()
    with pytest.raises(BenchError, match="^gone: its process has exited"):
        Runner(Contender("gone", ending), ROWS).__enter__()


def test_a_batch_larger_than_the_rows_repeats_them():
    with Runner(Contender("fast", fast), ROWS) as runner:
        assert runner.turn(32, 0.0) > 0
        np.testing.assert_allclose(runner.probabilities(4), tiny(0)(ROWS), atol=1e-6)


@pytest.mark.parametrize(
    ("faults", "variant", "name", "reasons"),
    [
        ({}, TENSORRT, "Tritone, TensorRT 11.4.0.106", ""),
        ({TENSORRT: "no plan"}, TENSORRT_RTX, "Tritone, TensorRT-RTX 1.7.1.116", "not tensorrt: no plan"),
        (
            {TENSORRT: "no plan", TENSORRT_RTX: "no card"},
            CUDA,
            "Tritone, ONNX Runtime CUDA float16",
            "not tensorrt: no plan; not tensorrt_rtx: no card",
        ),
        (
            {TENSORRT: "no plan", TENSORRT_RTX: "no card", CUDA: "no FP16"},
            None,
            "Tritone, PyTorch float16 channels last in CUDA graphs",
            "not tensorrt: no plan; not tensorrt_rtx: no card; not cuda: no FP16",
        ),
    ],
)
def test_ours_is_what_the_server_would_take(faults, variant, name, reasons, monkeypatch, tmp_path):
    def why_not(asked, machine, repository, systems):
        assert machine is WITH_GPU and repository.path == tmp_path and systems == [VGG]
        return faults.get(asked)

    monkeypatch.setattr(gpu_networks, "why_not", why_not)
    ours, why = choose_ours(VGG, tmp_path, WITH_GPU)
    assert (ours.name, why) == (name, reasons)
    everything, why = contenders(VGG, tmp_path, WITH_GPU)
    assert [c.name for c in everything] == ["PyTorch float32", "PyTorch float16", name] and why == reasons
    made = everything[-1].make
    assert made.func is (gpu_networks.served if variant else gpu_networks.graphed)
    assert variant is None or made.args == (tmp_path / f"{VGG}_network" / "1", variant)


def test_article_as_networks_are_those_of_the_checkpoint(monkeypatch):
    """In float16 to its precision; here on the CPU."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).eval()
    monkeypatch.setattr("bench.baselines.network.load_network", lambda system, repository: network)
    expected = classify(network, ROWS)
    np.testing.assert_array_equal(gpu_networks.eager(VGG, None, "float32")(ROWS), expected)
    half = gpu_networks.eager(VGG, None, "float16")
    assert next(network.parameters()).dtype == torch.float16
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    difference = np.abs(half(ROWS) - expected).max()
    assert 0 < difference < 2e-3


def test_served_networks_give_probabilities(monkeypatch, tmp_path):
    logits = np.log(np.array([[0.5, 0.25, 0.25]], np.float32)) + 3

    def load_network(folder, variant):
        assert (folder, variant) == (tmp_path, CUDA)
        return lambda rows: logits

    monkeypatch.setattr("bench.ideal.load_network", load_network)
    np.testing.assert_allclose(gpu_networks.served(tmp_path, CUDA)(ROWS), [[0.5, 0.25, 0.25]], rtol=1e-6)


@pytest.mark.parametrize(
    ("variant", "kind", "file"),
    [(TENSORRT, "Plan", "model.plan"), (TENSORRT_RTX, "RtxPlan", "model.rtx.plan")],
)
def test_a_plan_is_given_its_inputs_in_their_order(variant, kind, file, monkeypatch, tmp_path):
    class Plan:
        inputs = dict.fromkeys(["WAV", "LENGTH"])

        def __init__(self, path):
            assert path == tmp_path / file

        def run(self, inputs, outputs):
            assert outputs == ["LOGITS"]
            return [inputs["WAV"] * inputs["LENGTH"] - inputs["LENGTH"]]

    monkeypatch.setattr(f"server.backends.plan.{kind}", Plan)
    assert load_network(tmp_path, variant)(np.float32(3), np.float32(2)) == 4


@pytest.mark.parametrize("variant", [CUDA, "onnxruntime"])
@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider' is not")
def test_onnxruntime_without_its_cuda_provider_is_no_gpu(variant, tmp_path):
    """It would take the CPU without a word."""
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in ("X", "LOGITS")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["X"], ["LOGITS"])], "g", tensors[:1], tensors[1:]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / {CUDA: "model.fp16.onnx"}.get(variant, "model.onnx"))
    if variant == CUDA and not torch.cuda.is_available():  # also where onnxruntime-gpu is installed
        with pytest.raises(RuntimeError, match=r"^ONNX Runtime [\d.]+ could not start its CUDA provider$"):
            load_network(tmp_path, variant)
    else:
        assert load_network(tmp_path, variant)(np.ones(2, np.float32)).tolist() == [-1, -1]


@pytest.fixture
def suite(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "collection", lambda n: [b""] * n)
    monkeypatch.setattr(gpu, "find_perf_analyzer", lambda: [])
    monkeypatch.setattr(gpu.Machine, "here", lambda: WITH_GPU)
    return gpu.GpuSuite(command.QUICK, "auto", tmp_path)


def test_what_cannot_be_compared_as_a_whole_is_told(suite, monkeypatch):
    monkeypatch.setattr(gpu, "choose", lambda *arguments: ("openvino", "this CPU has AMX; not cuda: no FP16"))
    assert suite._end_to_end() == {
        "left_out": "the server would run openvino: this CPU has AMX; not cuda: no FP16"
    }

    def missing():
        raise PerfError("perf_analyzer needs libb64")

    monkeypatch.setattr(gpu, "find_perf_analyzer", missing)
    assert suite._end_to_end() == {"left_out": "perf_analyzer needs libb64"}


def test_the_gpu_is_watched_during_each_turn(watched):
    pipeline = SimpleNamespace(
        name="one", what="two", turn=lambda: Turn(3.0, 1.0, None), probabilities=lambda: "answers"
    )
    observed = gpu.Watched(pipeline)
    assert [observed.turn().rate, observed.turn().rate] == [3.0, 3.0] and observed.utilisation == [0.5, 0.5]
    assert (observed.name, observed.what, observed.probabilities()) == ("one", "two", "answers")
    assert gpu.mean([0.5, None, 1.0]) == 0.75 and gpu.mean([None]) is None


def test_without_a_gpu_nothing_is_written(monkeypatch, tmp_path, capsys):
    results = tmp_path / "results"
    monkeypatch.setattr(sys, "argv", ["bench", "--device=cuda", f"--results={results}"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main() == 2
    told = capsys.readouterr().err
    assert told.startswith("bench: --device cuda needs an NVIDIA GPU, and PyTorch") and told.count("\n") == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "find_gpu", lambda: None)
    assert command.main() == 2
    told = capsys.readouterr().err
    assert "pip install nvidia-ml-py" in told and told.count("\n") == 1
    assert not results.exists()


@pytest.mark.parametrize(
    ("flags", "device", "words"),
    [
        (["--device=cuda", "--only=speech"], "", "--only cannot be combined"),
        (["--batches", "8"], "", "--systems and --batches need --device cuda"),
        ([], "gpu", "--device is 'gpu', not one of"),
    ],
)
def test_other_devices_and_parts_are_refused(flags, device, words, monkeypatch, capsys):
    monkeypatch.setenv("DEVICE", device)
    monkeypatch.setattr(sys, "argv", ["bench", *flags])
    monkeypatch.setattr(command, "Suite", None)  # nothing is measured by mistake
    monkeypatch.setattr(command, "SpeechSuite", None)
    monkeypatch.setattr(gpu, "check_gpu", None)
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 2 and words in capsys.readouterr().err


def test_every_variant_has_a_precision():
    said = {name: precision(name) for name in VARIANTS if name != "openvino"}  # whose depends on the CPU
    assert said == {
        **{"onnxruntime": "float32", "openvino_int8": "int8"},
        **dict.fromkeys(("cuda", "tensorrt", "tensorrt_rtx"), "float16"),
    }


def test_a_machine_that_serves_on_a_gpu_needs_no_openvino():
    code = "import sys; sys.modules['openvino'] = None; import bench.gpu, bench.__main__, export.int8"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_system_that_is_not_the_articles_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "--device=cuda", "--systems", "emotion2vec_plus_large"])
    monkeypatch.setattr(gpu, "check_gpu", lambda: None)
    monkeypatch.setattr(gpu, "GpuSuite", None)
    assert command.main() == 2
    assert "vit_b_16_mel with --device cuda, not 'emotion2vec_plus_large'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_suite_runs_with_a_cpu_as_the_gpu(watched, monkeypatch, tmp_path):
    measured = []
    monkeypatch.setattr(gpu, "measure_networks", lambda *arguments: measured.append(arguments) or [])
    monkeypatch.setattr(gpu, "choose", lambda *arguments: ("onnxruntime", "asked"))
    monkeypatch.setattr(gpu, "ON_GPU", ("onnxruntime",))
    monkeypatch.setattr(gpu, "CONCURRENCY", 2)
    scale = Scale(2, 1, 1.0, (), (), 0, 0, 0)
    found = gpu.GpuSuite(scale, "auto", tmp_path, systems=[VGG], batches=(1, 8), rounds=1).run()
    [(candidates, rows, expected, batches, rounds, seconds)] = measured
    assert rows.shape == (4, 3, 224, 224) and expected.shape == (4, 16) and expected.argmax(1).tolist() != [0] * 4
    assert len(candidates) == 3 and (batches, rounds, seconds) == ((1, 8), 1, gpu.TURN_SECONDS)
    compared = found["gpu"]["comparison"]["rows"]
    assert [row["name"] for row in compared] == [
        "article A",
        "article A, fully optimised",
        "Tritone, onnxruntime",
    ]
    assert all(row["utilisation"] == 0.5 and row["agreement"] == 1 for row in compared)


def figures(name: str, scale: float, **others) -> dict:
    cells = [
        {"batch": n, "ms": n / scale, "rate": 1000 * scale, "times": scale, "utilisation": u}
        for n, u in ((1, 0.25), (32, 0.934 if scale > 1 else None))
    ]
    return {"name": name, "memory_mb": 1234.5, "agreement": 1.0, "difference": 1e-6, "batches": cells} | others


NETWORKS = {"model": VGG, "rows": 32, "rounds": 3, "why": "not tensorrt: no plan"} | {
    "networks": [
        figures("PyTorch float32", 1.0),
        figures("PyTorch float16", 1.5),
        figures("Tritone, ONNX Runtime CUDA float16", 2.5, agreement=0.96875, difference=0.0123),
    ]
}
COMPARED = HEAD | {"concurrency": 32, "rows": [A | {"utilisation": 0.251}, TRITONE | {"utilisation": 0.914}]}
RESULTS = {
    "command": "make bench DEVICE=cuda",
    "date": "2026-11-21",
    "machine": "a machine that is made up; NVIDIA H200, driver 580.65.06",
    "versions": {"python": "3.11.7"},
    "gpu": {"networks": [NETWORKS, NETWORKS | {"model": VIT, "why": ""}], "comparison": COMPARED},
}


def test_every_figure_is_in_its_place():
    text = section(RESULTS, ".")
    words = " ".join(text.split())
    lines = [row for row in text.splitlines() if row.startswith(("| rows", "| 1 |", "| 32 |"))][:3]
    head, one, many = ([cell.strip() for cell in row.strip("|").split("|")] for row in lines)
    cells = dict(zip(head, many, strict=True))
    assert cells["PyTorch float32: rows/s (ms)"] == "1000 (32.0)" and one[0] == "1"
    assert cells["Tritone, ONNX Runtime CUDA float16: rows/s (ms)"] == "2500 (12.8)"
    assert cells["Tritone, ONNX Runtime CUDA float16: to PyTorch float32"] == "2.50×"
    assert cells["PyTorch float16: to PyTorch float32"] == "1.50×"
    assert "| Tritone, ONNX Runtime CUDA float16 | 1234 | 25% / 93% | 96.9% of 32 | 0.01 |" in text
    assert "| PyTorch float32 | 1234 | 25% / ? | 100.0% of 32 | 1e-06 |" in text
    assert "at 1 / 32 rows" in words and f"`{VGG}` on the GPU" in words and f"`{VIT}` on the GPU" in words
    assert words.count("Tritone's is ONNX Runtime CUDA float16; not tensorrt: no plan.") == 1
    ours = dict(zip(line(text, "pipeline"), line(text, "**Tritone"), strict=True))
    assert ours["GPU busy"] == "91%" and ours["to article A"] == "3.00×" and "32 concurrent requests" in words
    assert "`make bench DEVICE=cuda`, 2026-11-21" in words and "NVIDIA H200, driver 580.65.06" in words
    assert "None" not in text
    assert max(len(row) for row in text.splitlines() if not row.startswith("|")) <= WIDTH


def test_what_was_left_out_is_told():
    gpu_figures = {"networks": [NETWORKS], "left_out": "perf_analyzer needs libb64"}
    text = section(RESULTS | {"gpu": gpu_figures}, ".")
    assert "were not compared: perf_analyzer needs libb64." in " ".join(text.split()) and "| pipeline" not in text


def test_the_command_writes_and_publishes_its_figures(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "check_gpu", lambda: H200)
    suite = SimpleNamespace(run=lambda: {"demo_weights": True, "gpu": RESULTS["gpu"]})
    monkeypatch.setattr(gpu, "GpuSuite", lambda *arguments, **options: suite)
    monkeypatch.setattr(sys, "argv", ["bench", f"--results={tmp_path}", "--quick"])
    monkeypatch.setenv("DEVICE", "cuda")
    assert command.main() == 0
    results = read_results(tmp_path / "gpu.json")
    assert results["command"] == "make bench DEVICE=cuda QUICK=1"
    assert results["machine"].endswith("; NVIDIA H200, driver 580.65.06")
    assert {"numpy", "torch", "triton"} <= results["versions"].keys()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["gpu.json", "gpu.md"]
    page, folder = tmp_path / "docs/benchmarks.md", tmp_path / "published"
    page.parent.mkdir()
    page.write_text("<!-- bench -->\n<!-- /bench -->\n")
    publish(tmp_path / "gpu.json", folder, tmp_path)
    assert (tmp_path / "gpu.md").read_text() in page.read_text()
    assert json.loads((folder / "gpu.json").read_text()) == results


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")


@pytest.mark.gpu
@needs_gpu
def test_the_driver_sees_what_runs():
    matrix = torch.rand(4096, 4096, device="cuda")
    with nvml.watch_gpu() as usage:
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            (matrix @ matrix).sum().item()
    assert usage.utilisation > 0.5 and usage.memory_mb > 64


@pytest.mark.gpu
@needs_gpu
def test_graphs_answer_what_the_network_answers(monkeypatch):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).eval().cuda()
    expected = classify(network, ROWS)
    monkeypatch.setattr("bench.baselines.network.load_network", lambda system, repository: network)
    graphed = gpu_networks.graphed(VGG, None)
    for n in (1, 4, 6, 4):
        np.testing.assert_allclose(graphed(ROWS[-n:]), expected[-n:], atol=2e-3)


@pytest.mark.gpu
@needs_gpu
def test_the_benchmark_runs_on_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["bench", "--device=cuda", "--quick", f"--results={tmp_path}"])
    assert command.main() == 0
    found = read_results(tmp_path / "gpu.json")["gpu"]
    [networks] = found["networks"]
    assert networks["model"] == VGG and VGG in SYSTEMS
    for network in networks["networks"]:
        assert network["agreement"] >= 0.95 and network["memory_mb"] > 0
        assert all(math.isfinite(cell["ms"]) and cell["rate"] > 0 for cell in network["batches"])
