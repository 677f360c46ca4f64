"""Tags of real music: figures against hand-computed ones, what is asked for, and what the reports say."""

import argparse
import json

import numpy as np
import pytest
from scipy.stats import spearmanr
from tritone_client import InvalidRecording

from answers.genre.options import GenreOptions
from answers.options import parse_options
from bench import precision, tagging, tags
from bench.report import publish, section
from bench.tags import ASKED, DISTURBANCES, OPTIONS, SR, UNDISTURBED, asked, disturbed
from systems.profiles import PATCHES
from tests.bench.test_evaluation import rows

HEAD = {"command": "make x", "date": "2026-11-28", "machine": "CPU, 2 cores", "versions": {"python": "3.11.7"}}
EXPECTED = np.array([[0.5, 0.3, 0.2, 0.05], [0.9, 0.1, 0.05, 0.02]])
FOUND = np.array([[0.4, 0.3, 0.1, 0.25], [0.9, 0.1, 0.06, 0.03]])


def test_figures_against_a_hand_computed_example():
    found = tagging.compare(EXPECTED, FOUND, top=2)
    assert found["same_set"] == 0.5  # the fourth tag of the first rises over 0.1
    assert found["mean_difference"] == pytest.approx((0.1 + 0.1 + 0.2 + 0.01 + 0.01) / 8)
    assert found["max_difference"] == pytest.approx(0.2)
    assert found["mean_rank"] == pytest.approx((0.8 + 1) / 2)  # 1 - 6 (0 + 0 + 1 + 1) / 60
    assert found["least_rank"] == pytest.approx(0.8)
    assert found["same_top"] == found["top_kept"] == 1
    moved = tagging.compare(EXPECTED, FOUND[:, [2, 1, 0, 3]], top=2)
    assert moved["same_top"] == 0 and moved["top_kept"] == 0.5


def test_refused_recordings_are_counted_and_left_out():
    found = tagging.together([np.array([np.nan]), FOUND[1]])
    assert found.shape == (2, 4)
    figures = tagging.compare(EXPECTED, found)
    assert figures == tagging.compare(EXPECTED[1:], FOUND[1:]) | {"refused": 1}


def test_silence_is_a_refusal_and_other_errors_are_not():
    class Refusing:
        def __init__(self, code):
            self.code = code

        def classify(self, *_, **__):
            raise InvalidRecording("no", code=self.code)

    assert np.isnan(tagging.answer(Refusing("silent"), "musicnn_msd", b"")).all()
    with pytest.raises(InvalidRecording):
        tagging.answer(Refusing("option"), "musicnn_msd", b"")


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    one, other = np.round(rng.random((2, 5, 50)), 1)  # with ties
    expected = [spearmanr(*pair).statistic for pair in zip(one, other, strict=True)]
    np.testing.assert_allclose(tagging.rank_correlations(one, other), expected, atol=1e-12)


def test_every_disturbance_is_asked_about_and_what_is_asked_are_options():
    assert {name.partition(",")[0] for name in DISTURBANCES} == set(ASKED)
    for disturbance in DISTURBANCES:
        assert asked(disturbance)[0] == "none"
        for name in asked(disturbance):
            parse_options(json.dumps(OPTIONS[name]).encode(), GenreOptions, profile=PATCHES.name)


def test_disturbed_excerpts_are_the_same_each_time_and_differ():
    y = np.sin(np.arange(25 * SR) * 0.1).astype(np.float32)
    found = {name: disturbed([y], name)[0] for name in DISTURBANCES}
    assert len(set(found.values())) == len(DISTURBANCES)
    assert found["noise, 5 dB"] == disturbed([y], "noise, 5 dB")[0]


def test_answers_are_compared_with_the_undisturbed_one():
    found = {(UNDISTURBED, "none"): EXPECTED, ("silence", "none"): FOUND, ("silence", "skip_silence"): EXPECTED}
    figures = tags.figures(found)
    assert figures["disturbances"]["silence"]["none"] == tagging.compare(EXPECTED, FOUND)
    assert figures["disturbances"]["silence"]["skip_silence"]["mean_difference"] == 0
    assert figures["another"]["mean_difference"] == pytest.approx(np.abs(EXPECTED[0] - EXPECTED[1]).mean())


def test_the_report_of_disturbances(tmp_path):
    found = {
        (UNDISTURBED, "none"): EXPECTED,
        (UNDISTURBED, "skip_silence"): EXPECTED,
        ("silence", "none"): FOUND,
        ("silence", "skip_silence"): EXPECTED,
    }
    measured = {
        "tags": {
            "excerpts": 2,
            "seconds": 60.0,
            "variant": "openvino",
            "packages": {"b": 1, "a": 1},
            "systems": {"musicnn_msd": tags.figures(found)},
        }
    }
    text = section(HEAD | measured, ".")
    table = rows(text)
    assert table["nothing"] == {"disturbed by": "nothing", "none": "100", "`skip_silence`": "100 (0.000)"}
    assert table["silence"]["none"] == "83 (0.053)" and table["silence"]["`skip_silence`"] == "100 (0.000)"
    assert text.startswith("### On real music") and "(a 1, b 1)" in text and "generated" not in text
    assert "not a true label" in " ".join(text.split()) and "The music is real" in " ".join(text.split())
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "options.md").write_text("<!-- options -->\n<!-- /options -->\n")
    (tmp_path / "tags.json").write_text(json.dumps(HEAD | measured))
    publish(tmp_path / "tags.json", tmp_path / "published", tmp_path)
    assert text in (tmp_path / "docs" / "options.md").read_text()


def test_the_report_of_precisions():
    measured = {
        "precision": {
            "excerpts": 2,
            "seconds": 30.0,
            "bf16": True,
            "packages": {"a": 2},
            "systems": {
                "musicnn_mtt": {
                    "openvino": tagging.compare(EXPECTED, FOUND),
                    "FP16": tagging.compare(*[EXPECTED] * 2),
                }
            },
        }
    }
    lines = [line for line in section(HEAD | measured, ".").splitlines() if line.startswith("| `musicnn_mtt`")]
    assert lines[0] == "| `musicnn_mtt` | bfloat16 (`openvino`) | 50% | 0.05 | 0.2 | 0.9000 | 0.8000 | 100% |"
    assert "| FP16 | 100% | 0 | 0 | 1.0000 |" in lines[1]


def test_a_missing_network_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(precision, "REPOSITORY", tmp_path)
    monkeypatch.setattr("sys.argv", ["precision", "musicnn_msd"])
    assert precision.main() == 2
    assert "bench.precision: there is no exported network" in capsys.readouterr().err


def test_the_command_names_what_differs_from_the_default():
    def arguments(systems, excerpts):
        return argparse.Namespace(systems=systems, excerpts=excerpts)

    assert precision.command("bench.x", arguments(precision.TAGGERS, 60), 60) == ""
    named = precision.command("bench.x", arguments(["musicnn_mtt"], 5), 60)
    assert named == "python -m bench.x musicnn_mtt --excerpts=5"
