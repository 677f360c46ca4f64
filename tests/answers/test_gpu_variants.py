"""The preprocess steps with the configurations of the GPU variants, outside Triton."""

import importlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from preprocess.spectrum import NUMPY
from systems.lengths import BUCKETS, COARSE_BUCKETS
from systems.manifest import Manifest
from tests.support.project import REPOSITORY, SPEECH, SYSTEMS, read_config

VARIANTS = ("tensorrt", "tensorrt_rtx", "cuda")


def read(system: str, variant: str | None) -> ModelConfig:
    file = f"configs/{variant}.pbtxt" if variant else "config.pbtxt"
    return read_config(REPOSITORY / f"{system}_preprocess" / file)


class Request:
    """A request with some samples."""

    def __init__(self, samples: np.ndarray, rate: int) -> None:
        self.tensors = {"PCM": samples, "SAMPLE_RATE": np.array([rate], np.int32)}


@pytest.fixture
def make(monkeypatch):
    """Makes the step of a system as Triton does with a configuration; `make.log` is what it has logged."""
    log = []

    def get_input_tensor_by_name(request, name):
        value = request.tensors.get(name)
        return None if value is None else SimpleNamespace(as_numpy=lambda: value)

    utilities = SimpleNamespace(
        Logger=SimpleNamespace(log_warn=log.append),
        Tensor=lambda name, value: (name, value),
        get_input_tensor_by_name=get_input_tensor_by_name,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities)
    for name in ("answers.step", "answers.genre.steps", "answers.emotion.steps"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def make(system: str, config: ModelConfig):
        module, kind = ("emotion", "EmotionPreprocess") if system == SPEECH else ("genre", "GenrePreprocess")
        steps = importlib.import_module(f"answers.{module}.steps")
        profile, spectrum = ("emotion2vec", None) if system == SPEECH else ("article-a", "cqt")
        manifest = {"spectrum": spectrum, "profile": profile, "demo": False, "labels": []}
        read = importlib.import_module("answers.step")
        monkeypatch.setattr(read, "read_manifest", lambda path, name: Manifest(path, manifest))
        parameters = {key: {"string_value": value.string_value} for key, value in config.parameters.items()}
        step = getattr(steps, kind)()
        step.initialize(
            {
                "model_name": f"{system}_preprocess",
                "model_repository": "",
                "model_config": json.dumps({"parameters": parameters}),
            }
        )
        return step

    make.log = log
    return make


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("system", [*SYSTEMS, SPEECH])
def test_gpu_variants_differ_in_what_a_gpu_wants_only(system, variant):
    base, config = read(system, None), read(system, variant)
    [(key, value)] = [(k, v.string_value) for k, v in config.parameters.items() if k not in base.parameters]
    assert (key, value) == (("buckets", '"coarse"') if system == SPEECH else ("gpu_spectrum", '"auto"'))
    assert config.instance_group[0].count > base.instance_group[0].count
    del config.parameters[key]
    config.instance_group[0].count = base.instance_group[0].count
    assert config == base


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_spectrum_is_computed_by_what_was_chosen(make, monkeypatch, variant):
    calls = []

    def choose(spectrum, report):
        report(f"{spectrum} somewhere")
        return NUMPY._replace(cqt=lambda y, **more: calls.append(len(y)) or NUMPY.cqt(y, **more))

    monkeypatch.setattr("preprocess.gpu.choose_transform", choose)
    step = make(SYSTEMS[0], read(SYSTEMS[0], variant))
    assert make.log == [f"{SYSTEMS[0]}_preprocess: cqt somewhere"]
    answer = dict(step.answer(Request(np.sin(np.arange(22050, dtype=np.float32)), 22050)))
    assert answer["ROWS"].shape == (1, 3, 224, 224) and calls == [22050]


def test_the_portable_step_does_not_ask_for_a_gpu(make, monkeypatch):
    monkeypatch.setattr("preprocess.gpu.choose_transform", None)
    assert make(SYSTEMS[0], read(SYSTEMS[0], None)).transform is NUMPY
    assert make.log == []


@pytest.mark.parametrize(
    ("variant", "buckets"), [(None, BUCKETS), ("tensorrt", COARSE_BUCKETS), ("cuda", COARSE_BUCKETS)]
)
def test_rows_of_speech_have_the_lengths_of_the_variant(make, variant, buckets):
    step = make(SPEECH, read(SPEECH, variant))
    answer = dict(step.answer(Request(np.sin(np.arange(16000 * 3, dtype=np.float32)), 16000)))
    assert answer["WAV"].shape == (1, min(n for n in buckets if n >= 16000 * 3 - 320))
    assert answer["LENGTH"].tolist() == [[400 + 148 * 320]]


@pytest.mark.parametrize(
    ("system", "key", "words"),
    [
        (SYSTEMS[0], "gpu_spectrum", 'gpu_spectrum must be "auto", not true'),
        (SPEECH, "buckets", 'buckets must be "coarse", not true'),
    ],
)
def test_other_values_are_refused(make, system, key, words):
    config = read(system, "cuda")
    config.parameters[key].string_value = "true"
    with pytest.raises(ValueError, match=f"^{system}_preprocess: {words}"):
        make(system, config)
