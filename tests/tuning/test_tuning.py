"""The tuning: what it turns, how it searches, what it keeps, and that Triton loads every candidate."""

import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

import systems
from server import tuned
from systems.repository import Repository
from tests.support import tiny
from tests.support.project import ROOT, SYSTEMS
from tuning import __main__ as tune
from tuning.knobs import Knobs, neighbours, others, read_knobs, read_shipped, turn

SHIPPED = Knobs(preprocess=2, networks=1, threads=2, delay=0, preferred=0)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("variant", ["onnxruntime", "openvino"])
def test_turning_changes_the_knobs_and_nothing_else(system, variant):
    shipped = read_shipped(Repository(ROOT / "model_repository"), system, variant)
    start = read_knobs(shipped, cores=2)
    assert turn(shipped, start, cores=2) == shipped
    wanted = Knobs(preprocess=3, networks=2, threads=1, delay=5000, preferred=4)
    turned = turn(shipped, wanted, cores=2)
    assert read_knobs(turned, cores=2) == wanted
    assert turn(turned, start, cores=2)["preprocess"] == shipped["preprocess"]
    network = turned["network"]
    assert network.backend == variant and network.max_batch_size == shipped["network"].max_batch_size
    for config, untouched in (
        (turned["preprocess"], {"instance_group"}),
        (network, {"instance_group", "parameters", "dynamic_batching"}),
    ):
        other = shipped["network" if config is network else "preprocess"]
        for field, _ in other.ListFields():
            assert field.name in untouched or getattr(config, field.name) == getattr(other, field.name)
    assert network.dynamic_batching.default_queue_policy.max_queue_size == 256


@pytest.mark.parametrize("cores", [1, 2, 4, 8, 64])
def test_candidates_fit_the_machine(cores):
    start = replace(SHIPPED, threads=cores)
    full = [knobs for changes in neighbours(cores, quick=False) for knobs in others(start, changes)]
    quick = [knobs for changes in neighbours(cores, quick=True) for knobs in others(start, changes)]
    assert start not in full and len(full) == len(set(full)) and set(quick) < set(full)
    assert len(full) <= 18
    for knobs in full:
        assert 1 <= knobs.preprocess <= 16 and 1 <= knobs.networks <= 4 and 1 <= knobs.threads <= cores


class Machine:
    """Stands in for a server: how fast it is follows from the configurations that it was told to load."""

    def __init__(self, rates, latency=lambda knobs: 100.0):
        self.rates, self.latency = rates, latency
        self.loaded = {}

    def load_model(self, name, headers, config):
        assert headers == {"triton-grpc-protocol-tritone-key": "key"}
        self.loaded[name.rpartition("_")[2]] = text_format.Parse(
            text_format.MessageToString(tune.json_format.Parse(config, ModelConfig())), ModelConfig()
        )

    def measure(self, server, model, data, *, concurrency, seconds):
        knobs = read_knobs(self.configurations | self.loaded, self.cores)
        return SimpleNamespace(
            rate=self.rates(knobs) * (1 if concurrency == 8 else 0.5),
            p50=self.latency(knobs),
            p95=1.0,
            mean_batch=2.0,
        )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Tunes vgg19_bn_cqt in a copy of the configurations, on a made-up machine; the report."""
    repository = tmp_path / "models"
    shutil.copytree(
        ROOT / "model_repository",
        repository,
        ignore=shutil.ignore_patterns("model*.onnx", "local.pbtxt", "__pycache__"),
    )
    (repository / "vgg19_bn_cqt_network/1/model.onnx").touch()
    tiny.declare(repository, "vgg19_bn_cqt", like=None, classes=16)
    monkeypatch.setattr(tune, "find_perf_analyzer", list)
    monkeypatch.setattr(tune, "collection", lambda n: [b"song"] * n)
    monkeypatch.setattr(tune.os, "sched_getaffinity", lambda pid: {0, 1})

    def go(rates, latency=lambda knobs: 100.0):
        machine = Machine(rates, latency)
        machine.configurations = read_shipped(Repository(repository), "vgg19_bn_cqt", "onnxruntime")
        machine.cores = 2

        @contextmanager
        def serving(*_):
            yield None, machine, "key"

        monkeypatch.setattr(tune, "serving", serving)
        monkeypatch.setattr(tune, "measure", machine.measure)
        return tune.tune(Repository(repository), "vgg19_bn_cqt", "onnxruntime", "article-a", False)

    go.repository = repository
    return go


def kept(repository):
    return {path.parts[-3]: path.read_text() for path in repository.glob("*/configs/local.pbtxt")}


def test_the_best_is_found_and_written_as_a_complete_configuration(run):
    def rates(knobs):
        return 10 + (knobs.preprocess == 3) + (knobs.delay == 1000) + (knobs.networks == 1)

    report = run(rates)
    files = kept(run.repository)
    assert set(files) == {f"{system}_{step}" for system in systems.SYSTEMS for step in tuned.STEPS}
    found = {s: text_format.Parse(files[f"vgg19_bn_cqt_{s}"], ModelConfig()) for s in tuned.STEPS}
    assert read_knobs(found, 2) == replace(SHIPPED, preprocess=3, delay=1000)
    assert found["network"].input and found["network"].model_warmup
    note = json.loads(files["vgg19_bn_cqt_network"].splitlines()[0].removeprefix("#"))
    assert note["gain"] == pytest.approx(13 / 11) and note["variant"] == "onnxruntime"
    assert "1.18 times the shipped throughput with 3 preprocess" in report
    assert tuned.usable(Repository(run.repository), list(SYSTEMS), "onnxruntime", tuned.this_machine())[0]
    assert "| 3 " in report and report.count("\n|") > 12


def test_each_measurement_is_announced_with_its_number(run, capsys):
    run(lambda knobs: 10.0 + (knobs.preprocess == 3))
    announced = re.findall(r"^tune: (\d+) of about (\d+): (.*) \.\.\.$", capsys.readouterr().err, re.MULTILINE)
    numbers, totals = ([int(each[k]) for each in announced] for k in (0, 1))
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(set(totals)) == 1 and 0.7 * totals[0] <= numbers[-1] <= totals[0]
    assert [knobs for *_, knobs in announced][-1].endswith("(comparison: the best)")


@pytest.mark.parametrize(
    ("rates", "latency", "why"),
    [
        (lambda k: 10.0, lambda k: 100.0, "nothing was faster"),
        (
            lambda k: 10.0 + 0.25 * (k.preprocess == 3),
            lambda k: 100.0,
            "1.02 times its throughput, less than 1.03",
        ),
        (lambda k: 10.0 + k.preprocess, lambda k: 100.0 if k.preprocess < 3 else 130.0, "nothing was faster"),
    ],
    ids=["equal", "below 3 %", "too slow alone"],
)
def test_what_gains_too_little_is_not_written_and_the_old_one_goes(run, rates, latency, why):
    run(lambda knobs: 10.0 + knobs.preprocess)
    assert kept(run.repository)
    report = run(rates, latency)
    assert f"The shipped configuration is kept: {why}" in report.replace("the best settings reached ", "")
    assert not kept(run.repository)


def bench_of(rates, delays):
    """A bench whose busy and alone measurements come from lists."""
    rates, delays = iter(rates), iter(delays)
    return SimpleNamespace(
        shipped=SHIPPED,
        busy=lambda knobs, why: SimpleNamespace(rate=next(rates)),
        alone=lambda: SimpleNamespace(p50=next(delays)),
    )


@pytest.mark.parametrize(
    ("rates", "delays", "objection"),
    [
        ([10, 11, 8, 9.6, 12, 13.2], [100] * 6, ""),
        ([10, 13, 10, 9.9, 10, 13], [100] * 6, "not always faster (1.30, 0.99, 1.30 times)"),
        ([10, 10.2] * 3, [100] * 6, "1.02 times its throughput"),
        ([10, 12] * 3, [100, 130] * 3, "1.30 times as long for a single request"),
    ],
)
def test_only_what_is_faster_in_every_turn_is_kept(rates, delays, objection):
    gain, said = tune.compare(bench_of(rates, delays), replace(SHIPPED, preprocess=3), turns=3)
    assert objection in said and bool(said) == bool(objection)
    assert objection or gain == pytest.approx(1.1)


def test_triton_loads_every_candidate(tmp_path, monkeypatch):
    repository = tiny.write_repository(tmp_path)
    shipped = read_shipped(Repository(repository), "tiny", "onnxruntime")
    with tune.serving(Repository(repository), "tiny", "onnxruntime") as (server, client, key):
        bench = tune.Bench(server, client, key, "tiny", shipped, tmp_path, 1.0)

        def measure(*_, **__):
            loaded = {s: client.get_model_config(f"tiny_{s}").config for s in tuned.STEPS}
            served.append(read_knobs(loaded, bench.cores))
            return SimpleNamespace(rate=1.0, p50=1.0, p95=1.0, mean_batch=1.0)

        served = []
        monkeypatch.setattr(tune, "measure", measure)
        candidates = [k for c in neighbours(bench.cores, quick=False) for k in others(bench.shipped, c)]
        for knobs in candidates:
            bench.busy(knobs)
    # Triton completes a batcher without preferred sizes with the largest batch.
    assert [replace(k, preferred=k.preferred % 32) for k in served] == candidates
    assert bench.rows[0] | {k: str(v) for k, v in asdict(candidates[0]).items()} == bench.rows[0]


def test_speech_is_not_tuned(monkeypatch, capsys):
    monkeypatch.setattr(tune, "find_perf_analyzer", list)
    monkeypatch.setattr(tune.preflight, "choose_systems", lambda *_: systems.SYSTEMS)
    monkeypatch.setattr("sys.argv", ["tune", "--system=emotion2vec_plus_large"])
    assert tune.main() == 2
    assert "emotion2vec_plus_large cannot be tuned; choose from " in capsys.readouterr().err


@pytest.mark.parametrize("variant", ["cuda", "tensorrt", "tensorrt_rtx"])
def test_what_a_gpu_computes_is_not_tuned(variant, monkeypatch, capsys):
    def choose(requested, machine, repository, systems):
        assert (requested, systems) == ("auto", ["vgg19_bn_cqt"]) and repository.path.name == "model_repository"
        return variant, "this machine has an NVIDIA H200"

    monkeypatch.setattr(tune, "find_perf_analyzer", list)
    monkeypatch.setattr(tune.preflight, "choose_systems", lambda *_: systems.SYSTEMS)
    monkeypatch.setattr(tune.variants, "choose", choose)
    monkeypatch.setattr("sys.argv", ["tune", "--variant=auto"])
    assert tune.main() == 2
    said = capsys.readouterr().err
    assert said.startswith(f"tune: {variant} computes on the GPU (this machine has an NVIDIA H200)")


def test_a_system_that_is_not_exported_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(tune, "find_perf_analyzer", list)
    monkeypatch.setattr("sys.argv", ["tune", "--system=nothing"])
    assert tune.main() == 2
    assert "nothing has no network in" in (said := capsys.readouterr().err) and said.count("\n") == 1
