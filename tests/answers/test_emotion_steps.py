"""The emotion system through the real Triton: its configurations and steps, around a small linear network.

That network sees each frame by itself, so what must come out is known exactly, of recordings of any length.
"""

import json
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import softmax

from preprocess import Enhancement
from preprocess.speech import prepare_speech
from systems.lengths import FIELD, HOP
from tests.support.recordings import encode, music
from tests.support.small import FILTERS, NAMES, PROJECTION, serving, write_speech_system
from tests.support.small import SPEECH as SYSTEM

OUTPUTS = ("SCORES", "LABELS", "FRAME_SCORES", "SEGMENTS", "EMBEDDING", "FRAME_EMBEDDINGS", "RESULT")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emotion")
    write_speech_system(folder)
    with serving(folder) as running:
        yield running


def ask(client, recording: bytes, outputs=OUTPUTS, model=SYSTEM, **options) -> dict[str, np.ndarray]:
    sent = {"AUDIO": recording, **({"OPTIONS": json.dumps(options).encode()} if options else {})}
    inputs = [triton.InferInput(name, [1], "BYTES") for name in sent]
    for tensor, value in zip(inputs, sent.values(), strict=True):
        tensor.set_data_from_numpy(np.array([value], object))
    answer = client.infer(model, inputs, outputs=[triton.InferRequestedOutput(name) for name in outputs])
    assert {tensor.name for tensor in answer.get_response().outputs} == set(outputs)
    return {name: answer.as_numpy(name) for name in outputs}


def expected(recording: bytes, enhancement: Enhancement | None = None) -> np.ndarray:
    """Features of the recording's own frames, float64 [frames, 1024]."""
    prepared = prepare_speech(recording, enhancement=enhancement)
    parts = []
    for wav, length, window in zip(prepared.wav, prepared.lengths[:, 0], prepared.windows, strict=True):
        frames = sliding_window_view(wav[:length].astype(np.float64), FIELD)[::HOP]
        own = frames[window.start - window.first : window.stop - window.first]
        parts.append(own @ FILTERS.T.astype(np.float64) + length / 16000)
    return np.concatenate(parts)


def speech(seconds: float, seed: int = 0) -> bytes:
    return encode(music(seconds, 16000, 1, seed), 16000, "wav")


@pytest.mark.parametrize("seconds", [0.025, 1.0, 3.21, 30.0, 47.3], ids=str)
def test_answers_equal_the_network_over_each_frame(client, seconds):
    recording = speech(seconds)
    features = expected(recording)
    logits = features @ PROJECTION.astype(np.float64)
    answer = ask(client, recording, frame_embeddings=True)
    np.testing.assert_allclose(answer["FRAME_EMBEDDINGS"], features, atol=1e-4)
    np.testing.assert_allclose(answer["EMBEDDING"], features.mean(0), atol=1e-5)
    np.testing.assert_allclose(answer["FRAME_SCORES"], softmax(logits, axis=1), atol=1e-4)
    np.testing.assert_allclose(answer["SCORES"], softmax(logits.mean(0)), atol=1e-5)
    assert [label.decode() for label in answer["LABELS"]] == list(NAMES)
    result, segments = json.loads(answer["RESULT"][0]), json.loads(answer["SEGMENTS"][0])
    assert result["segments"] == segments and segments[0]["start"] == 0
    assert segments[-1]["end"] == result["duration"] == pytest.approx(seconds, abs=1e-3)
    assert list(result["scores"].values()) == pytest.approx(answer["SCORES"].tolist())
    assert result["emotion"] == NAMES[logits.mean(0).argmax()] and result["frames"] == len(features)
    assert result["windows"] == (3 if seconds > 40 else 1)
    assert any("joined from 3 overlapping windows" in note for note in result["notes"]) == (seconds > 40)
    assert any("Demo weights" in note for note in result["notes"])


def test_frame_embeddings_travel_only_when_asked_for(client):
    recording = speech(2.0, seed=1)
    assert ask(client, recording, frame_embeddings=True)["FRAME_EMBEDDINGS"].shape == (99, 1024)
    answer = ask(client, recording)
    np.testing.assert_array_equal(answer["FRAME_EMBEDDINGS"], [answer["EMBEDDING"]])


@pytest.mark.parametrize("options", [{}, {"frame_embeddings": True}, {"smoothing": 2}], ids=str)
def test_a_repeated_recording_is_answered_from_the_cache(client, options):
    recording = speech(2.0, seed=2)

    def hits() -> int:
        [model] = client.get_inference_statistics(f"{SYSTEM}_chain").model_stats
        return model.inference_stats.cache_hit.count

    before = hits()
    few = ask(client, recording, ["SCORES", "FRAME_EMBEDDINGS"], **options)
    everything = ask(client, recording, **options)  # other outputs than the first time
    assert hits() == before + 1
    for name, value in few.items():
        np.testing.assert_array_equal(everything[name], value)


def test_options_move_the_timeline_and_bad_ones_are_refused(client):
    recording = speech(6.0, seed=3)
    fine, coarse = (
        json.loads(ask(client, recording, ["SEGMENTS"], smoothing=0, min_segment=s)["SEGMENTS"][0]) for s in (0, 2)
    )
    assert len(fine) > len(coarse) and all(s["end"] - s["start"] >= 1.999 for s in coarse)
    with pytest.raises(triton.InferenceServerException, match="'top_k' is unknown; .*, smoothing") as error:
        ask(client, recording, top_k=3)
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "timings" not in json.loads(ask(client, recording)["RESULT"][0])
    timings = json.loads(ask(client, recording, timings=True)["RESULT"][0])["timings"]
    assert {"decode", "resample", "normalise"} <= timings.keys()


def test_options_clean_calibrate_and_tell_how_sure(client):
    recording = speech(4.0, seed=6)
    logits = expected(recording, Enhancement(denoise="quietest", compress=True)) @ PROJECTION.astype(np.float64)
    options = {"denoise": "quietest", "compress": True, "temperature": 2.5, "label_smoothing": 0.1}
    answer = ask(client, recording, uncertainty="entropy", **options)
    np.testing.assert_allclose(answer["SCORES"], 0.9 * softmax(logits.mean(0) / 2.5) + 0.1 / 9, atol=1e-5)
    np.testing.assert_allclose(answer["FRAME_SCORES"], 0.9 * softmax(logits / 2.5, axis=1) + 0.1 / 9, atol=1e-4)
    result = json.loads(answer["RESULT"][0])
    assert set(result["cleaned"]) == {"denoise", "compress"} and "needs_review" in result
    p = answer["SCORES"].astype(np.float64)
    assert result["uncertainty"]["entropy"] == pytest.approx(-(p * np.log(p)).sum() / np.log(9), abs=1e-4)
    with pytest.raises(triton.InferenceServerException, match='temperature cannot be "fitted"') as error:
        ask(client, recording, temperature="fitted")
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_silence_is_flagged_and_what_is_too_short_or_long_refused(client):
    answer = ask(client, encode(np.zeros(32000, np.float32), 16000, "wav"))
    result = json.loads(answer["RESULT"][0])
    assert result["silence"] and result["emotion"] is None and result["segments"] == []
    np.testing.assert_allclose(answer["SCORES"], 1 / 9)
    for data, words in (
        (encode(np.ones(399, np.float32) / 2, 16000, "wav"), "25 ms are needed"),
        (encode(np.ones(601 * 4000, np.float32) / 2, 4000, "flac"), "601.0 s, the limit is 600 s"),
    ):
        with pytest.raises(triton.InferenceServerException, match=words):
            ask(client, data)


def test_samples_are_answered_like_the_file(client):
    samples = music(1.5, 16000, 1, seed=4)
    inputs = [triton.InferInput("PCM", [len(samples)], "FP32"), triton.InferInput("SAMPLE_RATE", [1], "INT32")]
    inputs[0].set_data_from_numpy(samples)
    inputs[1].set_data_from_numpy(np.array([16000], np.int32))
    scores = client.infer(SYSTEM, inputs).as_numpy("SCORES")
    np.testing.assert_allclose(scores, ask(client, encode(samples, 16000, "float"))["SCORES"], atol=1e-6)


def test_a_plain_http_body(server):
    url = f"http://{server.http}/v2/models/{SYSTEM}_raw/infer"
    request = urllib.request.Request(url, speech(1.0), {"Inference-Header-Content-Length": "0"})
    with urllib.request.urlopen(request, timeout=30) as response:
        result = json.loads(response.read().splitlines()[-1])
    assert result["model"] == SYSTEM and result["emotion"] in NAMES
