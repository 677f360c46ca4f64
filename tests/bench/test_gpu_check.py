"""The check of a GPU machine, dry: a CPU stands in for the GPU, a small linear network for VGG19_BN."""

import json
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import replace

import onnx
import pytest

from bench.errors import BenchError
from bench.gpu_check import __main__ as command
from bench.gpu_check import cores
from bench.gpu_check.check import Check
from bench.gpu_check.forms import bound, plain, recorded
from bench.gpu_check.run import Results, run
from bench.gpu_check.stages import Stage, gpu_figures, gpu_tests, last_json, last_line, stages
from export.onnx_float16 import convert, float16_nodes
from server.installation import ROOT
from systems.repository import Repository
from tests.support import small
from tests.support.exported import entry

PASSED = ["true"]


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """The genre system around its small network, in float32 and FP16."""
    folder = tmp_path_factory.mktemp("repository")
    small.write_genre_system(folder)
    network = Repository(folder).network(small.GENRE)
    proto = onnx.shape_inference.infer_shapes(onnx.load(network.onnx.path))
    network.fp16.path.write_bytes(convert(proto, float16_nodes(proto, {})).SerializeToString())
    network.manifest.content["onnx"] |= entry(network.onnx.path)
    made_from = {"sha256": network.onnx.description["sha256"]}
    network.fp16.record({**entry(network.fp16.path), "made_from": made_from})
    return Check(small.GENRE, "cpu", folder, brief=True)


def gpu_check(check, tmp_path, *chosen):
    """Run the command; its exit code, and the lines of the summary by stage."""
    flags = [f"--out={tmp_path / 'out'}", f"--logs={tmp_path / 'logs'}", *check.flags()]
    arguments = [sys.executable, "-m", "bench.gpu_check", "run", *chosen, *flags]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    lines = [json.loads(line) for line in (tmp_path / "out/summary.txt").read_text().splitlines()]
    return done, {line["stage"]: line for line in lines}


@pytest.mark.slow
def test_the_smallest_dry_run(check, tmp_path):
    done, found = gpu_check(check, tmp_path, "session", "facts", "cores", "ceilings")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(found) == ["facts", "ceilings", "session", "cores"]  # in the order of their value
    facts, network, prepared = (found[name]["found"] for name in ("facts", "session", "cores"))
    assert facts["versions"]["numpy"] and facts["perf_analyzer"] is True and "needs" in facts["variants"]["cuda"]
    assert found["ceilings"] == {"stage": "ceilings", "left_out": "needs a GPU"}
    assert network["same"] == 1 and 0 < network["difference"] < 1e-3 and network["ms"]["1"] > 0
    assert network["nodes"] == {"CPUExecutionProvider": {"Cast": 1, "MatMul": 1, "ReduceMean": 1}}
    assert prepared.keys() == {"numpy", "cpu"} and all(each[0]["per_s"] > 0 for each in prepared.values())
    with tarfile.open(tmp_path / "out/logs.tar.gz") as archive:
        assert {"logs/facts.log", "logs/session.log", "logs/cores.log"} <= set(archive.getnames())


@pytest.mark.slow
def test_the_server_and_the_forms_of_a_network(check, tmp_path):
    done, found = gpu_check(check, tmp_path, "server", "tests", "networks")
    assert done.returncode == 0, done.stdout + done.stderr
    served = found["server"]["found"]
    assert served["variant"] == "onnxruntime" and served["same"] == 1 and served["difference"] < 1e-5
    assert served["computed"]["device"] == "CPU" and served["load"][0]["per_s"] > 0
    assert "skipped" in found["tests"]["found"]["said"]
    forms = found["networks"]["found"]
    assert all(forms[name]["same"] == 1 for name in forms if name.startswith("ONNX Runtime"))
    assert "failed" in forms["PyTorch float16"]  # it has no weights here, which costs the others nothing


@pytest.mark.slow
def test_a_process_that_cannot_prepare_does_not_hold_the_others_up(check):
    start, found = time.monotonic(), cores.measure(check, "nowhere", 2)
    assert found["processes"] == 2 and found["failed"].startswith("RuntimeError: ")
    assert time.monotonic() - start < cores.START_SECONDS / 2


@pytest.mark.parametrize("form", [plain, bound, recorded])
def test_every_form_answers_the_same(form, check):
    rows = check.rows()
    reference = plain(check.network.onnx.path, "cpu", "softmax", {})(rows)
    classify = form(check.network.fp16.path, "cpu", "softmax", {"prefer_nhwc": "1"})
    for part in (slice(0, 1), slice(0, 2), slice(1, 2)):  # a batch that it has seen, with other rows
        assert abs(classify(rows[part]) - reference[part]).max() < 1e-3


def test_a_stage_that_fails_or_takes_too_long_costs_the_others_nothing(check, tmp_path, capfd):
    (tmp_path / "logs").mkdir()
    failing = [PASSED, ["sh", "-c", "echo no kernel image >&2; exit 3"], ["sh", "-c", "echo never"]]
    hanging = [["sh", "-c", "sleep 60 & sleep 60"]]
    chosen = [
        Stage("failing", 60, failing, last_line),
        Stage("hanging", 1, hanging, last_line),
        Stage("unreadable", 60, [PASSED], last_json),
        Stage("good", 60, [["echo", '{"a": 1}\na word at the end']], last_json),
    ]
    start, results = time.monotonic(), Results(tmp_path / "out", tmp_path / "logs")
    assert run(check, chosen, results, tmp_path / "logs", 60) == 3
    assert time.monotonic() - start < 10
    lines = [json.loads(line) for line in (tmp_path / "out/summary.txt").read_text().splitlines()]
    assert [line.pop("seconds") >= 0 for line in lines] == [True] * 4
    assert lines == [
        {"stage": "failing", "failed": "exit code 3", "last": "no kernel image"},
        {"stage": "hanging", "failed": "took more than 1 s", "last": ""},
        {"stage": "unreadable", "failed": "its figures cannot be read: no line is a JSON object", "last": ""},
        {"stage": "good", "found": {"a": 1}},
    ]
    printed = capfd.readouterr().out
    assert (
        "failing: exit code 3; the last lines of its log:\nno kernel image\n" in printed and "never" not in printed
    )


def test_results_are_renewed_after_each_stage(check, tmp_path):
    (tmp_path / "logs").mkdir()
    summary = tmp_path / "out" / "summary.txt"
    chosen = [Stage("first", 60, [PASSED], last_line), Stage("second", 60, [["cat", str(summary)]], last_json)]
    assert run(check, chosen, Results(tmp_path / "out", tmp_path / "logs"), tmp_path / "logs", 60) == 0
    assert json.loads(summary.read_text().splitlines()[1])["found"]["stage"] == "first"


def test_without_time_a_stage_is_left_out(check, tmp_path):
    (tmp_path / "logs").mkdir()
    results = Results(tmp_path / "out", tmp_path / "logs")
    assert run(check, [Stage("late", 60, [["false"]], last_line)], results, tmp_path / "logs", 25) == 0
    assert json.loads((tmp_path / "out/summary.txt").read_text())["left_out"].startswith("no time: 1")


def test_a_network_that_is_not_exported_is_said_in_one_sentence(tmp_path, monkeypatch, capsys):
    missing = Check(small.GENRE, "cpu", tmp_path, brief=True)
    monkeypatch.setattr(sys, "argv", ["gpu_check", "session", *missing.flags()])
    assert command.main() == 2
    said = capsys.readouterr().err
    assert said.startswith("gpu_check: there is no exported network in ") and said.endswith("; run make export\n")


def test_an_fp16_network_of_other_weights_is_refused(check, tmp_path):
    shutil.copytree(check.repository, tmp_path / "copy")
    (tmp_path / f"copy/{small.GENRE}_network/1/model.fp16.onnx").write_bytes(b"another")
    with pytest.raises(BenchError, match="has no FP16 network of its present weights in"):
        replace(check, repository=tmp_path / "copy").network  # noqa: B018


def test_an_unknown_stage_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_check", "run", "spead", f"--logs={tmp_path}"])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 2
    assert "there is no stage 'spead'; choose from facts, ceilings, " in capsys.readouterr().err


def test_the_stages_on_a_gpu(tmp_path):
    check = Check("vgg19_bn_cqt", "cuda", tmp_path, brief=False)
    known = {stage.name: stage for stage in stages(check, tmp_path)}
    order = ["facts", "ceilings", "export", "session", "server", "tests", "bench", "networks", "cores"]
    assert list(known) == order and check.variant == "cuda" and check.profile == "article-a"
    assert "--rows=100" in known["export"].commands[1] and "--systems=vgg19_bn_cqt" in known["bench"].commands[0]
    assert {"tests/bench/test_gpu.py", "tests/server/test_gpu.py"} <= set(gpu_tests())
    assert "tests/test_layout.py" not in gpu_tests()


def test_the_figures_of_the_benchmark(tmp_path):
    networks = [{"name": "PyTorch float32", "batches": [{"batch": 8, "ms": 1.23456}]}]
    gpu = {"networks": [{"model": "vgg19_bn_cqt", "networks": networks}], "left_out": "no perf_analyzer"}
    (tmp_path / "gpu.json").write_text(json.dumps({"gpu": gpu}))
    expected = {"networks": {"vgg19_bn_cqt, PyTorch float32": {8: 1.235}}, "left_out": "no perf_analyzer"}
    assert gpu_figures(tmp_path / "gpu.json", "") == expected
    gpu |= {"comparison": {"rows": [{"name": "article A", "rate": 4.04}]}}
    del gpu["left_out"]
    (tmp_path / "gpu.json").write_text(json.dumps({"gpu": gpu}))
    assert gpu_figures(tmp_path / "gpu.json", "")["per_s"] == {"article A": 4.0}
