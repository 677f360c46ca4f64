"""Probabilities, vote, ranking and levels against PyTorch and worked examples."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from answers.genre import answer as genre
from answers.genre.info import GenreInfo
from answers.genre.options import GenreOptions
from answers.voting import mean

MANIFEST = {
    "system": "vgg19_bn_cqt",
    "profile": "ccmusic",
    "labels": [{"en": name, "zh": name * 2} for name in "ABCD"],
    "levels": [{"name": "2", "labels": [{"en": "X", "zh": "x"}, {"en": "Y", "zh": "y"}], "members": [0, 1, 1, 0]}],
    "source": {"origin": "demo", "location": "demo", "sha256": "00"},
    "demo": True,
}
INFO = GenreInfo(
    options=GenreOptions(profile="ccmusic", top_k=2),
    milliseconds={"decode": 12.5, "spectrogram": 6.25},
    slices=[(0.0, 11.4), (11.4, 22.8), (22.8, 34.2)],
    slices_total=3,
    duration=35.0,
    seconds_used=34.2,
    notes=["a note"],
)


def info(slices: int = 3, **options: object) -> GenreInfo:
    return replace(INFO, options=replace(INFO.options, **options), slices=INFO.slices[:slices])


def analyse(rows: np.ndarray, **options: object) -> genre.Analysis:
    """Analyse slices with these probabilities."""
    return genre.analyse(np.log(np.maximum(rows, 1e-30)), info(**options), MANIFEST)


def answer(rows: np.ndarray, manifest: dict = MANIFEST, **options: object) -> dict:
    about = info(len(rows), **options)
    return genre.to_result(genre.analyse(np.log(rows), about, manifest), about, manifest)


def test_the_answer_is_the_mean_over_the_slices():
    logits = np.random.default_rng(1).normal(size=(21, 4)).astype(np.float32)
    found = genre.analyse(logits, INFO, MANIFEST)
    expected = torch.softmax(torch.from_numpy(logits).double(), -1).numpy()
    np.testing.assert_allclose(found.slice_probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(found.probabilities, expected.mean(0), rtol=1e-6)
    assert found.extra == {}


def test_independent_classes_have_probabilities_of_their_own():
    logits = np.random.default_rng(1).normal(size=(21, 4)).astype(np.float32)
    found = genre.analyse(logits, INFO, MANIFEST | {"activation": "sigmoid"})
    expected = torch.sigmoid(torch.from_numpy(logits).double()).numpy().mean(0)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-6)
    assert found.ranking == np.argsort(-expected).tolist()


def test_majority_counts_slices_and_not_their_confidence():
    rows = np.array([[0.9, 0.1, 0], [0.45, 0.55, 0], [0.4, 0.6, 0]], np.float32)
    assert genre.majority_vote(rows) == (1, pytest.approx(2 / 3))
    assert mean(rows).argmax() == 0


def test_a_tied_vote_goes_to_the_more_probable_class():
    rows = np.array([[0.6, 0.4, 0], [0.1, 0.9, 0]], np.float32)
    assert genre.majority_vote(rows) == (1, 0.5)
    assert genre.majority_vote(rows[::-1]) == (1, 0.5)


def test_ranking_is_stable():
    assert analyse(np.array([[0.2, 0.4, 0.2, 0.2]], np.float32)).ranking == [1, 0, 2, 3]


def test_level_sums_add_up_their_members():
    sums = genre.level_sums(np.array([0.1, 0.2, 0.3, 0.4], np.float32), [0, 1, 1, 0], 3)
    np.testing.assert_allclose(sums, [0.5, 0.5, 0.0], atol=1e-7)


def test_answer_says_everything_once():
    rows = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1]], np.float32)
    result = answer(rows)
    assert (result["label"], result["probability"]) == ("A", pytest.approx(0.5))
    assert [entry["label"] for entry in result["top"]] == ["A", "B"]
    assert result["top"][0]["label_zh"] == "AA"
    assert result["vote"] == {"label": "A", "share": pytest.approx(2 / 3)}
    assert [s["label"] for s in result["slices"]] == ["A", "B", "A"]
    assert result["slices"][1]["start"] == 11.4 and result["slices"][1]["probability"] == pytest.approx(0.6)
    assert [level["probability"] for level in result["levels"]["2"]] == pytest.approx([0.6, 0.4])
    assert result["weights"]["demo"] is True and result["notes"] == ["a note"]
    assert result["profile_default"] is True


def test_answer_without_levels_has_none():
    manifest = {key: value for key, value in MANIFEST.items() if key != "levels"}
    assert "levels" not in answer(np.full((3, 4), 0.25, np.float32), manifest)


def test_answer_tells_timings_on_request_only():
    rows = np.full((3, 4), 0.25, np.float32)
    assert "timings" not in answer(rows)
    assert answer(rows, timings=True)["timings"] == {"decode": 12.5, "spectrogram": 6.25}


def test_a_majority_outvotes_one_sure_slice_and_says_how_many_agree():
    rows = np.array([[0.9, 0.08, 0.01, 0.01], [0.45, 0.53, 0.01, 0.01], [0.4, 0.58, 0.01, 0.01]], np.float32)
    assert answer(rows)["label"] == "A" and "agreement" not in answer(rows)
    result = answer(rows, voting="majority")
    assert (result["label"], result["probability"]) == ("B", pytest.approx(2 / 3))
    assert (result["voting"], result["agreement"]) == ("majority", pytest.approx(2 / 3))
    assert answer(rows, segments=3)["agreement"] == pytest.approx(1 / 3)


def test_a_tied_majority_goes_to_the_more_probable_class():
    rows = np.array([[0.6, 0.3, 0.05, 0.05], [0.1, 0.8, 0.05, 0.05]], np.float32)
    assert answer(rows, voting="majority")["label"] == "B"
    assert answer(rows[::-1], voting="majority")["label"] == "B"


def test_a_temperature_divides_the_logits_of_each_slice():
    logits = np.random.default_rng(2).normal(0, 4, (3, 4)).astype(np.float32)
    expected = torch.softmax(torch.from_numpy(logits).double() / 2.5, -1).numpy()
    for wish, manifest in ((2.5, MANIFEST), ("fitted", MANIFEST | {"calibration": {"temperature": 2.5}})):
        found = genre.analyse(logits, info(temperature=wish, label_smoothing=0.2), manifest)
        np.testing.assert_allclose(found.probabilities, 0.8 * expected.mean(0) + 0.05, rtol=1e-5)
        np.testing.assert_allclose(found.slice_probabilities, 0.8 * expected + 0.05, rtol=1e-5)
        assert found.extra == {"calibration": {"temperature": 2.5, "label_smoothing": 0.2}}


def test_an_unsure_answer_asks_for_a_person_and_lists_three():
    rows = np.array([[0.4, 0.35, 0.2, 0.05]] * 3, np.float32)
    result = answer(rows, uncertainty="entropy", top_k=1)
    assert result["needs_review"] is True and [e["label"] for e in result["top"]] == ["A", "B", "C"]
    assert result["review"] == {"by": "entropy", "threshold": 0.7}
    assert len(answer(rows, uncertainty="entropy", top_k=4)["top"]) == 4
    sure = answer(rows, uncertainty="disagreement", top_k=1)
    assert sure["needs_review"] is False and len(sure["top"]) == 1
    exactly = answer(np.array([[0.5, 0.5, 1e-9, 1e-9]], np.float32), uncertainty="entropy", review_threshold=0.5)
    assert exactly["uncertainty"]["entropy"] == 0.5 and exactly["needs_review"] is False


def test_a_vote_of_unsure_slices_is_not_sure():
    rows = np.array([[0.26, 0.25, 0.25, 0.24]] * 2, np.float32)
    result = answer(rows, voting="majority", uncertainty="entropy")
    assert result["probability"] == 1 and result["needs_review"] is True
    assert result["uncertainty"] == answer(rows, uncertainty="entropy")["uncertainty"]
