"""Emotions, timeline and embedding against PyTorch, NumPy's convolution and worked examples."""

import time
from itertools import groupby, pairwise

import numpy as np
import pytest
import torch

from answers.emotion import answer as emotion
from answers.emotion.info import EmotionInfo
from answers.emotion.options import EmotionOptions

EN = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")
MANIFEST = {
    "system": "emotion2vec_plus_large",
    "profile": "emotion2vec",
    "labels": [{"en": name, "zh": name.upper()} for name in EN],
    "source": {"origin": "demo", "location": "demo", "sha256": "00"},
    "demo": True,
}
# Outputs of checkpoints of nine and of five emotions for the same recording (reported in FunASR issue 2728).
NINE = [1.0034e-4, 1.80216e-3, 1.2170e-4, 1.0617e-5, 0.9911528, 1.2138e-5, 6.745314e-3, 5.4167e-5, 6.6017e-7]
FIVE = {0: 1.0054e-4, 3: 1.0638e-5, 4: 0.9931293, 6: 6.75876e-3, 8: 6.6149e-7}


def info(frames: int, *windows: list[int], silent: bool = False, **options) -> EmotionInfo:
    return EmotionInfo(
        options=EmotionOptions(**options),
        windows=list(windows) or [[0, 0, frames]],
        duration=0.02 * frames + 0.0175,
        silent=silent,
        notes=["a note"],
        milliseconds={"decode": 12.5},
    )


def rows(frames: int, windows: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features and the logits that a linear projection makes of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(windows, frames, 1024)).astype(np.float32)
    projection = rng.normal(size=(1024, 9)).astype(np.float32) / 8
    return features, features @ projection + rng.normal(size=9).astype(np.float32)


def test_the_recording_is_the_softmax_of_the_projected_mean_feature():
    """As FunASR computes it: mean over frames, projection, softmax."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(1, 149, 1024)).astype(np.float32)
    projection = torch.nn.Linear(1024, 9)
    with torch.no_grad():
        logits = projection(torch.from_numpy(features)).numpy()
        mean = torch.from_numpy(features[0]).mean(0)
        scores, frame_scores = projection(mean).softmax(-1), torch.from_numpy(logits[0]).softmax(-1)
    found = emotion.analyse(features, logits, info(149), MANIFEST)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    np.testing.assert_allclose(found.frame_scores, frame_scores, atol=1e-6)
    np.testing.assert_allclose(found.embedding, mean, atol=1e-6)
    assert [a.dtype for a in (found.scores, found.frame_scores, found.embedding)] == [np.float32] * 3


def test_scores_keep_the_order_of_the_manifest():
    features, logits = rows(50)
    logits[..., 6] += 100
    labels = [MANIFEST["labels"][i] for i in (6, 0, 1, 2, 3, 4, 5, 7, 8)]
    answers = [
        emotion.to_result(emotion.analyse(features, logits, info(50), manifest), info(50), manifest)
        for manifest in (MANIFEST, MANIFEST | {"labels": labels})
    ]
    assert [a["emotion"] for a in answers] == ["sad", "other"]
    assert list(answers[0]["scores"]) == list(EN) and answers[1]["emotion_zh"] == "OTHER"


def test_labels_that_the_weights_do_not_use_get_nothing_anywhere():
    names = [name if i in FIVE else f"unuse_{i}" for i, name in enumerate(EN)]
    manifest = MANIFEST | {"labels": [{"en": name, "zh": name} for name in names]}
    logits = np.tile(np.log(np.array(NINE)).astype(np.float32), (1, 30, 1))
    features = np.zeros((1, 30, 1024), np.float32)
    found = emotion.analyse(features, logits, info(30), manifest)
    expected = np.array([FIVE.get(i, 0) for i in range(9)])
    np.testing.assert_allclose(found.scores, expected, rtol=2e-4)
    np.testing.assert_allclose(found.frame_scores, np.tile(expected, (30, 1)), rtol=2e-4)
    assert found.segments[0]["confidence"] == pytest.approx(FIVE[4], rel=2e-4)
    np.testing.assert_allclose(emotion.analyse(features, logits, info(30), MANIFEST).scores, NINE, rtol=2e-4)
    quiet = emotion.analyse(features, logits, info(30, silent=True), manifest)
    np.testing.assert_allclose(quiet.scores, [0.2 if i in FIVE else 0 for i in range(9)])


def test_windows_give_the_frames_that_are_theirs_and_no_padding():
    features, logits = rows(130, windows=2)
    windows = [0, 0, 100], [50, 100, 160]  # of the second row, 50 frames of context and 20 of context and padding
    by_hand = np.concatenate([features[0, :100], features[1, 50:110]])
    found = emotion.analyse(features, logits, info(160, *windows, frame_embeddings=True), MANIFEST)
    np.testing.assert_array_equal(found.frame_embeddings, by_hand)
    joined = np.concatenate([logits[0, :100], logits[1, 50:110]])[None]
    alone = emotion.analyse(by_hand[None], joined, info(160), MANIFEST)
    np.testing.assert_allclose(found.embedding, alone.embedding, atol=1e-6)
    np.testing.assert_array_equal(found.scores, alone.scores)
    np.testing.assert_array_equal(found.frame_scores, alone.frame_scores)
    assert found.segments == alone.segments


def test_frame_embeddings_that_nobody_asked_for_are_the_mean():
    features, logits = rows(40)
    found = emotion.analyse(features, logits, info(40), MANIFEST)
    np.testing.assert_array_equal(found.frame_embeddings, [found.embedding])


@pytest.mark.parametrize(("seconds", "width"), [(0, 1), (0.02, 1), (0.04, 3), (0.5, 25), (1.0, 51)])
def test_the_moving_average_is_numpys_convolution_over_what_is_there(seconds, width):
    values = np.random.default_rng(2).normal(size=(200, 9)).astype(np.float32)
    box = np.ones(width)
    there = np.convolve(np.ones(200), box, "same")
    expected = np.stack([np.convolve(column, box, "same") / there for column in values.T], axis=1)
    np.testing.assert_allclose(emotion.moving_average(values, seconds), expected, atol=1e-9)


def test_the_moving_average_may_be_longer_than_the_recording():
    values = np.random.default_rng(3).normal(size=(7, 9)).astype(np.float32)
    smooth = emotion.moving_average(values, 10)
    np.testing.assert_allclose(smooth, np.tile(values.mean(0, dtype=np.float64), (7, 1)), atol=1e-9)
    np.testing.assert_allclose(emotion.moving_average(values[:1], 0.5), values[:1], atol=1e-9)


def scores(text: str, second: str = "", height: float = 0.8) -> np.ndarray:
    """Probabilities of frames whose best classes are the letters of `text`, and second best those of `second`."""
    p = np.full((len(text), 4), (0.95 - height) / 2)
    for i, letter in enumerate(text):
        p[i, "ABCD".index(letter)] = height
        if second:
            p[i, "ABCD".index(second[i])] += 0.05
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def shown(segments: list[dict]) -> str:
    """A letter for every frame."""
    return "".join(s["emotion"] * round((s["end"] - s["start"]) / 0.02) for s in segments)


@pytest.mark.parametrize(
    ("frames", "second", "least", "expected"),
    [
        ("AAAABBBB", "CCCCCCCC", 0.0, "AAAABBBB"),
        ("AAAABBBB", "CCCCCCCC", 0.08, "AAAABBBB"),  # just long enough
        ("AAABBBBB", "CCCCCCCC", 0.08, "BBBBBBBB"),  # one frame short
        ("AAAABAAAA", "CCCCCCCCC", 0.04, "AAAAAAAAA"),  # all three become one
        ("AAAACBBBB", "DDDDBDDDD", 0.04, "AAAABBBBB"),  # to the neighbour that it resembles
        ("AAAACBBBB", "DDDDADDDD", 0.04, "AAAAABBBB"),
        ("BAAAA", "CCCCC", 0.04, "AAAAA"),  # at the edges there is one neighbour only
        ("AAAAB", "CCCCC", 0.04, "AAAAA"),
        ("ABABAB", "BABABA", 0.06, "BBBBBB"),  # equally short: the first joins first
        ("BBBBCCCAA", "AAAABBBBB", 0.08, "BBBBCCCCC"),  # the shortest first: AA makes CCC long enough
        ("A", "B", 0.5, "A"),  # shorter than the shortest, and alone
        ("AAAAABBBBBBB", "CCCCCCCCCCCC", 0.14, "BBBBBBBBBBBB"),
        ("AAAAAAABBBBBBB", "CCCCCCCCCCCCCC", 0.14, "AAAAAAABBBBBBB"),  # 0.14 / 0.02 > 7 in floating point
    ],
)
def test_short_segments_join_a_neighbour(frames, second, least, expected):
    segments = emotion.timeline(scores(frames, second), least, 0.02 * len(frames), "ABCD")
    assert shown(segments) == expected


def test_a_segment_says_when_what_and_how_sure():
    p = np.concatenate([scores("A" * 30, height=0.9), scores("B" * 20, height=0.7)])
    first, second = emotion.timeline(p, 0.2, 1.017, "ABCD")
    assert first == {"start": 0, "end": 0.6, "emotion": "A", "confidence": pytest.approx(p[:30, 0].mean())}
    assert second == {"start": 0.6, "end": 1.017, "emotion": "B", "confidence": pytest.approx(p[30:, 1].mean())}


@pytest.mark.parametrize("seed", range(5))
def test_segments_tile_the_recording_and_none_is_short(seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(9, 0.3), 1500).astype(np.float32)
    for least in (0, 0.1, 0.5, 3):
        segments = emotion.timeline(p, least, 30.01, EN)
        assert segments[0]["start"] == 0 and segments[-1]["end"] == 30.01
        for one, other in pairwise(segments):
            assert one["end"] == other["start"] and one["emotion"] != other["emotion"]
        assert min(s["end"] - s["start"] for s in segments) >= least - 1e-9
        if least == 0:
            assert [s["emotion"] for s in segments] == [EN[c] for c, _ in groupby(p.argmax(1))]


def test_the_timeline_is_of_smoothed_logits_and_the_frame_scores_are_not():
    features, logits = rows(200, seed=4)
    found, raw = (emotion.analyse(features, logits, info(200, smoothing=s), MANIFEST) for s in (1.0, 0.0))
    box = np.ones(51)
    smooth = np.stack([np.convolve(column, box, "same") for column in logits[0].T], axis=1)
    smooth /= np.convolve(np.ones(200), box, "same")[:, None]
    p = torch.from_numpy(smooth).softmax(-1).numpy()
    for segment in found.segments:
        frames = slice(round(segment["start"] / 0.02), round(segment["end"] / 0.02))
        assert segment["confidence"] == pytest.approx(p[frames, EN.index(segment["emotion"])].mean(), abs=1e-6)
    np.testing.assert_array_equal(found.frame_scores, raw.frame_scores)
    assert found.segments != raw.segments


def test_ten_minutes_of_flicker_take_no_long_time():
    p = np.random.default_rng(6).dirichlet(np.full(9, 0.3), 30000).astype(np.float32)
    began = time.perf_counter()
    emotion.timeline(p, 10, 600, EN)
    assert time.perf_counter() - began < 3


def test_silence_is_no_emotion():
    features, logits = rows(60)
    found = emotion.analyse(features, logits, info(60, silent=True), MANIFEST)
    np.testing.assert_allclose(found.scores, 1 / 9)
    np.testing.assert_allclose(found.frame_scores, np.full((60, 9), 1 / 9))
    answer = emotion.to_result(found, info(60, silent=True), MANIFEST)
    assert answer["silence"] is True and answer["segments"] == []
    assert answer["emotion"] is answer["emotion_zh"] is answer["confidence"] is None


def test_one_frame_is_enough():
    features, logits = rows(24)  # padded
    found = emotion.analyse(features, logits, info(1), MANIFEST)
    np.testing.assert_array_equal(found.embedding, features[0, 0])
    np.testing.assert_allclose(found.scores, found.frame_scores[0], atol=1e-7)
    [segment] = found.segments
    assert (segment["start"], segment["end"]) == (0, 0.038)
    assert segment["emotion"] == EN[logits[0, 0].argmax()]


def test_the_answer_says_everything_once():
    features, logits = rows(100)
    logits[..., 3] += 10
    about = info(100)
    found = emotion.analyse(features, logits, about, MANIFEST)
    answer = emotion.to_result(found, about, MANIFEST)
    assert (answer["model"], answer["emotion"], answer["emotion_zh"]) == (MANIFEST["system"], "happy", "HAPPY")
    assert answer["confidence"] == answer["scores"]["happy"] == pytest.approx(float(found.scores[3]))
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-6)
    assert [name.upper() for name in answer["scores"]] == answer["labels_zh"]
    assert (answer["frames"], answer["frame_hop"], answer["windows"]) == (100, 0.02, 1)
    assert answer["duration"] == 2.018 and answer["silence"] is False and answer["profile"] == "emotion2vec"
    assert answer["segments"] == found.segments and answer["notes"] == ["a note"] and "timings" not in answer
    assert answer["weights"] == {"origin": "demo", "source": "demo", "sha256": "00", "demo": True}


def test_the_answer_of_several_windows_calls_itself_an_approximation():
    features, logits = rows(130, windows=2)
    about = info(160, [0, 0, 100], [50, 100, 160], timings=True)
    answer = emotion.to_result(emotion.analyse(features, logits, about, MANIFEST), about, MANIFEST)
    assert answer["windows"] == 2 and answer["timings"] == {"decode": 12.5}
    assert answer["notes"][0] == "a note" and "joined from 2 overlapping windows" in answer["notes"][1]


def test_a_temperature_divides_the_mean_logits_and_those_of_each_frame():
    features, logits = rows(60)
    found = emotion.analyse(features, logits, info(60, temperature=3, label_smoothing=0.1), MANIFEST)
    expected = torch.from_numpy(logits[0].astype(np.float64)) / 3
    np.testing.assert_allclose(found.scores, 0.9 * expected.mean(0).softmax(-1) + 0.1 / 9, atol=1e-6)
    np.testing.assert_allclose(found.frame_scores, 0.9 * expected.softmax(-1) + 0.1 / 9, atol=1e-6)
    assert emotion.to_result(found, info(60), MANIFEST)["calibration"] == {
        "temperature": 3,
        "label_smoothing": 0.1,
    }


def test_smoothing_gives_nothing_to_labels_that_are_not_used():
    manifest = MANIFEST | {"labels": [{"en": "unuse_0", "zh": ""}, *MANIFEST["labels"][1:]]}
    found = emotion.analyse(*rows(60), info(60, label_smoothing=0.5), manifest)
    assert found.scores[0] == 0 and found.scores.sum() == pytest.approx(1, abs=1e-6)
    assert found.scores[1:].min() > 0.5 / 8 - 1e-6


def test_an_unsure_answer_asks_for_a_person_and_names_three():
    features, logits = rows(60)
    options = {"uncertainty": "entropy", "review_threshold": 0.0}
    found = emotion.analyse(features, logits, info(60, **options), MANIFEST)
    result = emotion.to_result(found, info(60), MANIFEST)
    assert result["needs_review"] is True and result["review"] == {"by": "entropy", "threshold": 0.0}
    assert [entry["label"] for entry in result["top"]] == sorted(EN, key=lambda name: -result["scores"][name])[:3]
    sure = emotion.analyse(features, logits, info(60, uncertainty="margin", review_threshold=1.0), MANIFEST)
    result = emotion.to_result(sure, info(60), MANIFEST)
    assert result["needs_review"] is False and "top" not in result
    # Smoothed over everything, each frame has the recording's answer.
    whole = emotion.analyse(features, logits, info(60, uncertainty="disagreement", smoothing=10), MANIFEST)
    assert whole.extra["uncertainty"]["disagreement"] == 0


def test_nothing_is_said_of_options_that_are_off():
    result = emotion.to_result(emotion.analyse(*rows(60), info(60), MANIFEST), info(60), MANIFEST)
    assert not {"top", "calibration", "uncertainty", "needs_review", "cleaned"} & set(result)


def test_uncertainty_is_among_the_labels_that_can_be_said():
    labels = [{"en": name if i < 3 else "unuse_" + name, "zh": ""} for i, name in enumerate(EN)]
    manifest = MANIFEST | {"labels": labels}
    even = emotion.analyse(
        np.ones((1, 9, 4), np.float32), np.zeros((1, 9, 9), np.float32), info(9, uncertainty="margin"), manifest
    )
    assert even.extra["uncertainty"] == {
        "entropy": 1.0,
        "margin": 1.0,
        "variation_ratio": 0.6667,
        "disagreement": 0.0,
    }


def test_silence_is_unsure_and_names_nothing():
    found = emotion.analyse(*rows(60), info(60, silent=True, uncertainty="entropy"), MANIFEST)
    result = emotion.to_result(found, info(60, silent=True), MANIFEST)
    assert result["needs_review"] is True and result["uncertainty"]["entropy"] == 1 and "top" not in result
