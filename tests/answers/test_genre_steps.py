"""The genre steps without Triton: what the options change between the tensors."""

import importlib
import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from preprocess import RecordingError, prepare
from sounds import sound
from systems.label_set import label_set
from systems.manifest import Manifest
from systems.profiles import PROFILES

SOUND = sound(9, 1, seconds=24)


@pytest.fixture
def make_step(monkeypatch):
    """Makes a step for some labels."""
    utilities = SimpleNamespace(
        Tensor=lambda name, value: (name, value),
        get_input_tensor_by_name=lambda request, name: request.get(name),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities)
    for name in ("answers.step", "answers.genre.steps", "answers.genre.explain"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def make(labels, suffix):
        manifest = {"spectrum": "mel", "profile": "ccmusic", "demo": False} | labels.manifest()
        genre = importlib.import_module("answers.genre.steps")
        monkeypatch.setattr(
            importlib.import_module("answers.step"), "read_manifest", lambda path, name: Manifest(path, manifest)
        )
        step = {"preprocess": genre.GenrePreprocess, "postprocess": genre.GenrePostprocess}[suffix]()
        config = {"parameters": {"max_rows": {"string_value": "8"}}}
        step.initialize(
            {
                "model_name": f"s_{suffix}",
                "model_repository": "",
                "model_config": json.dumps(config),
            }
        )
        return step

    return make


@pytest.fixture
def preprocess(make_step):
    """Makes the first step for some labels."""
    return lambda labels: make_step(labels, "preprocess")


def request_of(tensors: dict) -> dict:
    return {name: SimpleNamespace(as_numpy=lambda value=value: value) for name, value in tensors.items()}


def ask(step, **options) -> dict:
    tensors = {"PCM": SOUND, "SAMPLE_RATE": np.array([22050]), "OPTIONS": np.array([json.dumps(options).encode()])}
    answer = dict(step.answer(request_of(tensors)))
    return answer | {"INFO": json.loads(answer["INFO"][0])}


def test_rules_are_refused_where_there_are_none_for_the_labels(preprocess):
    with pytest.raises(RecordingError, match="^OPTIONS: rules must be false: no file in answers/genre/"):
        ask(preprocess(label_set("emotion2vec")), rules=True)
    assert ask(preprocess(label_set("emotion2vec")))["INFO"]["features"] == {}
    assert ask(preprocess(label_set("ccmusic")), rules=True)["INFO"]["features"].keys() == {
        *("tempo", "beat_strength", "low_frequency_share", "voice_presence")
    }


def test_the_last_step_has_no_rules_either_where_there_are_none_for_the_labels(preprocess, make_step):
    info = ask(preprocess(label_set("ccmusic")), rules=True)["INFO"]
    request = request_of({"INFO": np.array([json.dumps(info).encode()], object)})
    assert make_step(label_set("ccmusic"), "postprocess").info(request).features == info["features"]
    with pytest.raises(RecordingError, match="rules must be false"):
        make_step(label_set("emotion2vec"), "postprocess").info(request)


def test_json_has_no_numbers_that_it_does_not_know(preprocess):
    preprocess(label_set("ccmusic"))
    step = sys.modules["answers.step"]
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(step.StepFailure, match="RESULT would contain NaN or an infinite number"):
            step.json_tensor("RESULT", {"probability": value})


@pytest.mark.parametrize("option", ["explain", "pictures"])
def test_rows_are_kept_for_images_only(preprocess, option):
    step, rows = preprocess(label_set("ccmusic")), prepare((SOUND, 22050), spectrum="mel").rows
    step.explains = True
    assert ask(step)["KEPT_ROWS"].shape == (1, 1, 1, 1)
    shown = ask(step, **{option: 1})
    np.testing.assert_array_equal(shown["KEPT_ROWS"], rows)
    np.testing.assert_array_equal(shown["ROWS"], rows)


def test_an_explanation_without_its_network_is_refused_before_the_recording_is_prepared(preprocess):
    step = preprocess(label_set("ccmusic"))
    text = np.array([b'{"explain": 1}'])
    with pytest.raises(RecordingError, match="^OPTIONS: explain needs the network s_explain, .* run make explain"):
        step.answer(request_of({"OPTIONS": text}))  # without any recording: it would be missed next
    step.explains = True
    with pytest.raises(RecordingError, match="^Send either AUDIO"):
        step.answer(request_of({"OPTIONS": text}))


@pytest.mark.parametrize(("profile", "low"), [("ccmusic", -1), ("article-a", 0), ("article-b", 0)])
def test_images_are_the_rows_in_grey_levels(preprocess, profile, low):
    preprocess(label_set("ccmusic"))
    rows = prepare((SOUND, 22050), profile, spectrum="mel").rows
    images = sys.modules["answers.genre.steps"].to_images(rows, PROFILES[profile])
    assert images.dtype == np.uint8 and images.shape == (len(rows), 224, 224, 3)
    seen = images.transpose(0, 3, 1, 2) / 255 * (1 - low) + low
    np.testing.assert_allclose(seen, rows, atol=0.5 / 255 * (1 - low) + 1e-6)


@pytest.mark.filterwarnings("error")
def test_an_image_without_bounds_spans_from_black_to_white_and_a_silent_one_is_black(preprocess):
    preprocess(label_set("ccmusic"))
    rows = np.stack([np.full((1, 4, 5), 3.5), np.linspace(-2, 7, 20).reshape(1, 4, 5)]).astype(np.float32)
    silent, sounding = sys.modules["answers.genre.steps"].to_images(
        rows, replace(PROFILES["ccmusic"], value_range=None)
    )
    assert silent.shape == sounding.shape == (4, 5, 3) and not silent.any()
    assert (sounding.min(), sounding.max()) == (0, 255)
