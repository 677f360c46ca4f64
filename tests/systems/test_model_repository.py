"""The configurations: valid for Triton 24.10's schema, consistent with each other and between the systems."""

import json
import math

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup, ModelQueuePolicy

from preprocess.speech import LIMITS, prepare_speech
from systems.lengths import BUCKETS, COARSE_BUCKETS, SR
from systems.repository import Repository
from systems.tasks import MOST_SHOWN
from systems.variants import FP16_FILE, INT8_FILE, PLAN_FILE, RTX_PLAN_FILE, VARIANTS
from tests.support.project import REPOSITORY, SPEECH, SYSTEMS, read_config

ALL = (*SYSTEMS, SPEECH)
TUNED = "local.pbtxt"  # of this machine alone, written by make tune
CONFIGS = sorted(REPOSITORY.glob("*/config.pbtxt")) + sorted(REPOSITORY.glob("*/configs/*.pbtxt"))


def config(name: str) -> ModelConfig:
    return read_config(REPOSITORY / name / "config.pbtxt")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_each_file_is_valid_and_named_after_its_folder(path):
    folder = path.parent.parent if path.parent.name == "configs" else path.parent
    assert read_config(path).name == folder.name
    assert (folder / "1").is_dir()


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_bound_on_slices_is_the_networks_batch(system):
    bound = json.loads(config(f"{system}_preprocess").parameters["max_rows"].string_value)
    for path in REPOSITORY.glob(f"{system}_network/**/*.pbtxt"):
        assert read_config(path).max_batch_size == bound


def test_the_longest_speech_has_no_more_windows_than_the_networks_batch():
    parameters = config(f"{SPEECH}_preprocess").parameters
    seconds = json.loads(parameters["max_seconds"].string_value)
    assert seconds == LIMITS.max_seconds
    longest = np.random.default_rng(0).normal(0, 0.1, math.ceil(seconds * SR)).astype(np.float32)
    windows = len(prepare_speech((longest, SR)).wav)
    for path in REPOSITORY.glob(f"{SPEECH}_network/**/*.pbtxt"):
        assert windows <= read_config(path).max_batch_size


@pytest.mark.parametrize("system", ALL)
def test_variants_differ_in_what_runs_the_network_only(system):
    base = config(f"{system}_network")
    variants = {
        path.stem: read_config(path)
        for path in REPOSITORY.glob(f"{system}_network/configs/*.pbtxt")
        if path.name != TUNED
    }
    files = {"openvino": "model.onnx", "openvino_int8": INT8_FILE, "cuda": FP16_FILE, "tensorrt": PLAN_FILE}
    files["tensorrt_rtx"] = RTX_PLAN_FILE
    if system == SPEECH:
        files["openvino_int8"] = "model.onnx"
    assert {name: variant.default_model_filename for name, variant in variants.items()} == files
    for name, variant in variants.items():
        for field in ("input", "output", "max_batch_size"):
            assert getattr(variant, field) == getattr(base, field)
        assert name.startswith("tensorrt") or variant.dynamic_batching == base.dynamic_batching
        assert variant.dynamic_batching.default_queue_policy == base.dynamic_batching.default_queue_policy
        on_gpu = variant.instance_group[0].kind == ModelInstanceGroup.KIND_GPU
        assert on_gpu == VARIANTS[name].on_gpu
        assert system == SPEECH or on_gpu or variant.model_warmup == base.model_warmup


@pytest.mark.parametrize("system", ALL)
def test_a_plan_of_tensorrt_rtx_differs_in_what_runs_it_only(system):
    """One context for a card of less memory; it launches by graphs of its own."""
    planned, rtx = (
        read_config(REPOSITORY / f"{system}_network/configs/{name}.pbtxt") for name in ("tensorrt", "tensorrt_rtx")
    )
    assert (rtx.backend, rtx.instance_group[0].count) == ("tensorrt_rtx", 1)
    planned.ClearField("optimization")
    planned.backend, planned.default_model_filename = rtx.backend, rtx.default_model_filename
    planned.instance_group[0].count = 1
    assert rtx == planned


@pytest.mark.parametrize("system", ALL)
def test_the_plan_is_warmed_at_the_batches_that_it_is_fast_at(system):
    network = read_config(REPOSITORY / f"{system}_network/configs/tensorrt.pbtxt")
    preferred = set(network.dynamic_batching.preferred_batch_size)
    assert preferred and max(preferred) < network.max_batch_size
    shapes = {
        (warmup.batch_size, warmup.inputs["WAV"].dims[0] if system == SPEECH else 0)
        for warmup in network.model_warmup
    }
    assert shapes == (
        {(batch, samples) for batch in {1, *preferred} for samples in COARSE_BUCKETS}
        if system == SPEECH
        else {(batch, 0) for batch in {1, *preferred, network.max_batch_size}}
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_batch_of_a_plan_has_a_cuda_graph(system):
    """A graph serves the batches from its bound up to its own, if both declare the shape of a row."""
    network = read_config(REPOSITORY / f"{system}_network/configs/tensorrt.pbtxt")
    served = []
    for graph in network.optimization.cuda.graph_spec:
        served += range(graph.graph_lower_bound.batch_size, graph.batch_size + 1)
        assert list(graph.input["ROWS"].dim) == list(graph.graph_lower_bound.input["ROWS"].dim) == [3, 224, 224]
    assert network.optimization.cuda.graphs and served == [*range(1, network.max_batch_size + 1)]


@pytest.mark.parametrize("system", ALL)
def test_int8_differs_from_openvino_in_its_file_only(system):
    """And in nothing where there is no INT8 network."""
    openvino, int8 = (
        read_config(REPOSITORY / f"{system}_network/configs/{name}.pbtxt")
        for name in ("openvino", "openvino_int8")
    )
    if system != SPEECH:
        openvino.default_model_filename = INT8_FILE
    assert int8 == openvino


@pytest.mark.parametrize("system", ALL)
def test_only_the_inner_ensemble_caches_and_it_is_asked_for_everything(system):
    """Triton keeps the outputs that the first request asked for, whatever the next one wants."""
    outer, chain = config(system), config(f"{system}_chain")
    assert [bool(c.response_cache.enable) for c in (config(f"{system}_raw"), outer, chain)] == [False, False, True]
    assert set(outer.ensemble_scheduling.step[0].output_map) == {output.name for output in chain.output}
    assert [i.name for i in outer.input] == [i.name for i in chain.input]


@pytest.mark.parametrize("system", ALL)
def test_queues_are_bounded_and_every_step_is_warmed(system):
    explains = () if system == SPEECH else ("explain",)
    for step in ("preprocess", "network", *explains):
        policy = config(f"{system}_{step}").dynamic_batching.default_queue_policy
        assert 0 < policy.max_queue_size <= 256 and policy.default_timeout_microseconds > 0
        assert policy.timeout_action == ModelQueuePolicy.REJECT
    for step in ("preprocess", "network", "postprocess", *explains):
        warmups = config(f"{system}_{step}").model_warmup
        assert warmups
        for warmup in warmups:  # Triton skips those of batch 0, also where a model has no batches
            assert warmup.batch_size >= 1


def test_the_speech_network_is_warmed_with_all_that_can_be_run_together():
    """OpenVINO prepares itself for a shape when it first sees it."""
    network = read_config(REPOSITORY / f"{SPEECH}_network/configs/openvino.pbtxt")
    at_a_time = int(network.parameters["values_at_a_time"].string_value)
    shapes = {(warmup.inputs["WAV"].dims[0], warmup.batch_size) for warmup in network.model_warmup}
    assert shapes == {(n, rows) for n in BUCKETS for rows in (1, 2, 4, 8) if rows == 1 or rows * n <= at_a_time}
    portable = {warmup.inputs["WAV"].dims[0] for warmup in config(f"{SPEECH}_network").model_warmup}
    assert {BUCKETS[0], BUCKETS[-1]} < portable < set(BUCKETS)


def test_the_longest_row_of_the_speech_network_is_the_longest_that_is_made():
    for path in REPOSITORY.glob(f"{SPEECH}_network/**/*.pbtxt"):
        assert int(read_config(path).parameters["most_values"].string_value) == BUCKETS[-1], path


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_explains_takes_what_the_network_takes(system):
    network, explains = config(f"{system}_network"), config(f"{system}_explain")
    assert explains.input[0] == network.input[0]
    assert explains.max_batch_size == MOST_SHOWN
    assert explains.instance_group[0].kind == ModelInstanceGroup.KIND_CPU
    made = Repository(REPOSITORY).network(system).explain.path
    assert made == REPOSITORY / f"{system}_explain" / "1" / explains.default_model_filename


def test_the_genre_systems_differ_in_their_names_only():
    one, other = (
        {
            str(path.relative_to(REPOSITORY)).replace(system, "S"): path.read_text().replace(system, "S")
            for path in REPOSITORY.glob(f"{system}*/**/*")
            if path.name == "model.py" or (path.suffix == ".pbtxt" and path.name != TUNED)
        }
        for system in SYSTEMS
    )
    assert one.keys() == other.keys()
    for name, text in one.items():
        if not name.endswith(".pbtxt"):
            assert text == other[name]
            continue
        configs = (text_format.Parse(t, ModelConfig()) for t in (text, other[name]))
        assert next(configs) == next(configs), name
