"""Probabilities, vote, ranking and levels against PyTorch and worked examples."""

import numpy as np
import pytest
import torch

from postprocess import genre

MANIFEST = {
    "system": "vgg19_bn_cqt",
    "profile": "ccmusic",
    "labels": [{"en": name, "zh": name * 2} for name in "ABCD"],
    "levels": [{"name": "2", "labels": [{"en": "X", "zh": "x"}, {"en": "Y", "zh": "y"}], "members": [0, 1, 1, 0]}],
    "source": {"origin": "demo", "location": "demo", "sha256": "00"},
    "demo": True,
}
INFO = {
    "options": {"profile": "ccmusic", "top_k": 2, "timings": False},
    "milliseconds": {"decode": 12.5, "spectrogram": 6.25},
    "slices": [[0.0, 11.4], [11.4, 22.8], [22.8, 34.2]],
    "slices_total": 3,
    "duration": 35.0,
    "seconds_used": 34.2,
    "notes": ["a note"],
}


def test_softmax_equals_pytorch():
    logits = np.random.default_rng(0).normal(0, 30, (5, 16)).astype(np.float32)
    expected = torch.softmax(torch.from_numpy(logits).double(), -1).numpy()
    np.testing.assert_allclose(genre.softmax(logits), expected, rtol=1e-5, atol=1e-7)
    huge = np.array([[1e4, 0, -1e4]], np.float32)
    np.testing.assert_array_equal(genre.softmax(huge), [[1, 0, 0]])


def test_aggregate_is_the_mean_and_sums_to_one():
    rows = genre.softmax(np.random.default_rng(1).normal(size=(21, 16)).astype(np.float32))
    np.testing.assert_allclose(genre.aggregate(rows), rows.mean(0), rtol=1e-6)
    assert genre.aggregate(rows).sum() == pytest.approx(1, abs=1e-6)


def test_majority_counts_slices_and_not_their_confidence():
    rows = np.array([[0.9, 0.1, 0], [0.45, 0.55, 0], [0.4, 0.6, 0]], np.float32)
    assert genre.majority_vote(rows) == (1, pytest.approx(2 / 3))
    assert genre.aggregate(rows).argmax() == 0


def test_a_tied_vote_goes_to_the_more_probable_class():
    rows = np.array([[0.6, 0.4, 0], [0.1, 0.9, 0]], np.float32)
    assert genre.majority_vote(rows) == (1, 0.5)
    assert genre.majority_vote(rows[::-1]) == (1, 0.5)


def test_ranking_is_stable():
    assert genre.ranking(np.array([0.2, 0.4, 0.2, 0.2], np.float32), 3) == [1, 0, 2]


def test_level_sums_add_up_their_members():
    sums = genre.level_sums(np.array([0.1, 0.2, 0.3, 0.4], np.float32), [0, 1, 1, 0], 3)
    np.testing.assert_allclose(sums, [0.5, 0.5, 0.0], atol=1e-7)


def test_answer_says_everything_once():
    rows = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1]], np.float32)
    answer = genre.answer(genre.aggregate(rows), rows, INFO, MANIFEST)
    assert (answer["label"], answer["probability"]) == ("A", pytest.approx(0.5))
    assert [entry["label"] for entry in answer["top"]] == ["A", "B"]
    assert answer["top"][0]["label_zh"] == "AA"
    assert answer["vote"] == {"label": "A", "share": pytest.approx(2 / 3)}
    assert [s["label"] for s in answer["slices"]] == ["A", "B", "A"]
    assert answer["slices"][1]["start"] == 11.4 and answer["slices"][1]["probability"] == pytest.approx(0.6)
    assert [level["probability"] for level in answer["levels"]["2"]] == pytest.approx([0.6, 0.4])
    assert answer["weights"]["demo"] is True and answer["notes"] == ["a note"]
    assert answer["profile_default"] is True


def test_answer_without_levels_has_none():
    rows = np.full((3, 4), 0.25, np.float32)
    manifest = {key: value for key, value in MANIFEST.items() if key != "levels"}
    assert "levels" not in genre.answer(rows[0], rows, INFO, manifest)


def test_answer_tells_timings_on_request_only():
    rows = np.full((3, 4), 0.25, np.float32)
    assert "timings" not in genre.answer(rows[0], rows, INFO, MANIFEST)
    asked = INFO | {"options": INFO["options"] | {"timings": True}}
    assert genre.answer(rows[0], rows, asked, MANIFEST)["timings"] == {"decode": 12.5, "spectrogram": 6.25}
