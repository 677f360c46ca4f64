"""`Client.emotion` against a real Triton, over gRPC and over HTTP."""

import json
from pathlib import Path

import numpy as np
import pytest
import tritone_client
from tritone_client import Client, InvalidRecording, UnknownModel

from tests.support.triton import Triton

SPEECH = bytes([4, 3, 3, 3, 7])  # neutral, three times happy, surprised
EMOTIONS = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")


def test_an_utterance(client: Client):
    prediction = client.emotion(SPEECH)
    assert (prediction.model, prediction.emotion, prediction.emotion_zh) == (
        "emotion2vec_plus_large",
        "happy",
        "开心",
    )
    # Three of five frames give 0.6, the others 0.05.
    assert prediction.confidence == pytest.approx((3 * 0.6 + 2 * 0.05) / 5)
    assert prediction.scores["happy"] == pytest.approx(prediction.confidence)
    assert prediction.scores["sad"] == pytest.approx(0.05)
    assert tuple(prediction.scores) == prediction.labels == EMOTIONS
    assert [(s.start, s.end, s.emotion) for s in prediction.segments] == [
        (0.0, 0.02, "neutral"),
        (0.02, 0.08, "happy"),
        (0.08, 0.1, "surprised"),
    ]
    assert prediction.frame_scores is prediction.embedding is prediction.frame_embeddings is None
    assert not prediction.silence and prediction.windows == 1 and prediction.duration == pytest.approx(0.1)
    assert prediction.weights.demo and prediction.notes[0].startswith("These are demo weights")
    assert prediction.raw["echo"] == {"options": {}}
    assert 0 < prediction.seconds < 5
    written = json.loads(json.dumps(prediction.to_dict()))
    assert written["emotion"] == "happy" and "frame_scores" not in written


def test_frames(client: Client):
    prediction = client.emotion(SPEECH, granularity="frame", smoothing=0.0, min_segment=None)
    assert prediction.frame_scores.dtype == np.float32 and prediction.frame_scores.shape == (5, 9)
    assert prediction.frame_scores.argmax(axis=1).tolist() == list(SPEECH)
    assert prediction.frame_hop == 0.02 and prediction.embedding is None
    assert prediction.raw["echo"]["options"] == {"smoothing": 0.0}
    written = json.loads(json.dumps(prediction.to_dict()))
    assert written["frame_scores"][1][3] == 0.6 and written["labels"] == list(EMOTIONS)


@pytest.mark.parametrize(
    ("asked", "further"),
    [
        ({}, []),
        ({"granularity": "frame"}, ["FRAME_SCORES"]),
        ({"embedding": True}, ["EMBEDDING"]),
        ({"embedding": True, "granularity": "frame"}, ["EMBEDDING", "FRAME_EMBEDDINGS", "FRAME_SCORES"]),
    ],
)
def test_only_what_is_asked_for_travels(
    client: Client, monkeypatch: pytest.MonkeyPatch, asked: dict[str, object], further: list[str]
):
    """In the ensemble all outputs are computed; what the request names is what Triton sends."""
    infer = client._transport.infer
    seen = []
    monkeypatch.setattr(client._transport, "infer", lambda *args: seen.append(args[0]) or infer(*args))
    client.emotion(SPEECH, **asked)
    assert sorted(seen[0].outputs) == sorted([*further, "LABELS", "RESULT", "SCORES"])


def test_embeddings(client: Client):
    whole = client.emotion(SPEECH, embedding=True)
    assert whole.embedding.shape == (1024,) and whole.frame_embeddings is whole.frame_scores is None
    assert whole.raw["echo"]["options"] == {}
    frames = client.emotion(SPEECH, embedding=True, granularity="frame")
    assert frames.frame_embeddings.shape == (5, 1024)
    np.testing.assert_array_equal(frames.frame_embeddings.mean(axis=0), frames.embedding)
    np.testing.assert_array_equal(whole.embedding, frames.embedding)
    assert frames.raw["echo"]["options"] == {"frame_embeddings": True}


def test_silence_has_no_emotion(client: Client):
    prediction = client.emotion(b"\xff\xff", granularity="frame")
    assert prediction.silence and prediction.segments == ()
    assert prediction.emotion is prediction.emotion_zh is prediction.confidence is None
    assert list(prediction.scores.values()) == pytest.approx([1 / 9] * 9)


def test_samples_and_paths_are_taken(client: Client, tmp_path: Path):
    assert client.emotion((np.zeros(800, np.float32), 16000)).raw["frames"] == 2
    file = tmp_path / "speech.wav"
    file.write_bytes(SPEECH)
    assert client.emotion(file).raw["frames"] == 5


def test_what_is_refused(client: Client):
    with pytest.raises(InvalidRecording, match=r"must be 'utterance' or 'frame', not 'frames'\.$"):
        client.emotion(SPEECH, granularity="frames")
    with pytest.raises(InvalidRecording, match=r"^There is no option 'top_k'\.$"):
        client.emotion(SPEECH, top_k=3)


@pytest.mark.parametrize("asked", [{}, {"embedding": True, "granularity": "frame"}])
def test_a_system_of_the_other_kind_names_the_method(client: Client, asked: dict[str, object]):
    message = r"'vgg19_bn_cqt' belongs to another method: use classify\(\) or the command `tritone classify`\.$"
    with pytest.raises(UnknownModel, match=message):
        client.emotion(SPEECH, model="vgg19_bn_cqt", **asked)
    message = (
        r"'emotion2vec_plus_large' belongs to another method: use emotion\(\) or the command `tritone emotion`\.$"
    )
    with pytest.raises(UnknownModel, match=message):
        client.classify(SPEECH, model="emotion2vec_plus_large")
    # A front for bare files and a step are no systems, whatever outputs they lack or have.
    with pytest.raises(UnknownModel, match="takes no recordings"):
        client.emotion(SPEECH, model="vgg19_bn_cqt_raw", **asked)
    with pytest.raises(UnknownModel, match="takes no recordings"):
        client.classify(SPEECH, model="emotion2vec_plus_large_postprocess")
    with pytest.raises(UnknownModel, match="has no model 'nope'"):
        client.emotion(SPEECH, model="nope", **asked)


def test_both_protocols_say_the_same(triton: Triton):
    with Client(triton.grpc) as grpc, Client(triton.http) as http:
        one, other = (c.emotion(SPEECH, granularity="frame", embedding=True) for c in (grpc, http))
    assert one.raw == other.raw and one.scores == other.scores
    np.testing.assert_array_equal(one.frame_scores, other.frame_scores)
    np.testing.assert_array_equal(one.frame_embeddings, other.frame_embeddings)


def test_an_answer_of_another_version_is_an_error(client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client._transport, "infer", lambda *_: {"RESULT": np.array([b"{}"], object)})
    with pytest.raises(tritone_client.InferenceFailed, match="KeyError: 'LABELS'"):
        client.emotion(SPEECH)
