"""The evaluation of options: what is asked, and what the report makes of the figures."""

import json
import sys
from dataclasses import fields

import pytest

from answers.genre.options import GenreOptions
from answers.options import parse_options
from bench import evaluation, options
from bench.evaluation_report import GROUPS
from bench.evaluation_sets import GROUPS as SETS
from bench.report import publish, section
from preprocess import PROFILES

HEAD = {
    "command": "make evaluate",
    "date": "2026-11-21",
    "machine": "CPU, 2 cores",
    "versions": {"python": "3.11.7"},
}


def scores(top1: float, **others: float) -> dict:
    overall = {"top1": top1, "ece": 0.123, "review": 0.25}
    groups = {group: {"top1": others.get(group.replace("-", "_"), top1)} for group in SETS}
    return {"overall": overall, "groups": groups}


FIGURES = HEAD | {
    "evaluation": [
        {
            "model": "vgg19_bn_cqt",
            "variant": "openvino",
            "recordings": 384,
            "sets": {
                "none": scores(0.5, clean=1.0, noise_20=0.25, noise_10=0.75),
                "crop=first": scores(0.5, medley=0.125),
                "segments=5": scores(0.5, clean=1.0, noise_20=0.75, noise_10=0.5, short=0.4),
            },
            "calibration": {"held_out": {"temperature": 1.25, "ece": [0.2, 0.1], "nll": [1.5, 1.25]}},
        }
    ]
}
COSTS = HEAD | {
    "costs": {
        "system": "vit_b_16_mel",
        "seconds": 30.0,
        "long_seconds": 180.0,
        "without": {"genre_ms": 52.7, "speech_ms": 3.0},
        "options": [
            {"options": {"denoise": "first"}, "genre_ms": 15.3, "speech_ms": 9.2},
            {"options": {"segments": 3}, "genre_ms": -12.2, "rows": [15, 3]},
        ],
        "maps": [{"system": "vgg19_bn_cqt", "ms": 105.4}],
    }
}


def rows(text: str) -> dict[str, dict[str, str]]:
    """The table's cells by the first column and the head."""
    lines = [
        [cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}


def test_every_group_has_its_column():
    assert sorted(group for groups in GROUPS.values() for group in groups) == sorted(SETS)


def test_what_is_asked_are_options():
    for sent in evaluation.OPTIONS.values():
        parse_options(json.dumps(sent | evaluation.REVIEW).encode(), GenreOptions, profile=next(iter(PROFILES)))
    assert set(evaluation.QUICK) <= set(evaluation.OPTIONS) and next(iter(evaluation.OPTIONS)) == "none"
    for sent in (*options.CLEANING, *options.HEARING, *options.ANSWERING):
        GenreOptions(profile="ccmusic", **sent)


def test_every_option_that_costs_something_is_timed():
    timed = {key for sent in (*options.CLEANING, *options.HEARING, *options.ANSWERING) for key in sent}
    known = {field.name for field in fields(GenreOptions)}
    details = {name for name in known if name.startswith(("denoise_", "compress_"))}
    details |= {"crop_seconds", "segment_seconds", "review_threshold"}
    # The first has an entry of its own; the second is a copy of rows between processes.
    assert timed == known - details - {"explain", "pictures", "profile", "top_k", "jpeg", "timings"}


def test_the_section_shows_gains_and_losses():
    text = section(FIGURES, ".")
    table = rows(text)
    assert table["none"] | {"clean": "100", "20, 10": "50", "medley": "50", "ECE": "0.123"} == table["none"]
    segments = table["`segments=5`"]
    assert (segments["clean"], segments["20, 10"], segments["short"], segments["medley"]) == (
        "·",
        "+12",
        "-10",
        "·",
    )
    assert table["`crop=first`"]["clean"] == "-50" and table["none"]["review"] == "25%"
    words = " ".join(text.split())
    assert "384 recordings, 32 of each group" in words and "five segments recognises 50 % of the medleys" in words
    assert (
        "(1.25) changes the calibration error of the other half from 0.200 to 0.100 and its NLL from 1.50 to 1.25"
        in words
    )
    assert "`make evaluate`, 2026-11-21: CPU, 2 cores" in words


def test_the_costs_are_told_per_30_s():
    text = section(COSTS, ".")
    table = rows(text)
    assert list(table["`denoise=first`"].values()) == ["`denoise=first`", "+15.30", "+9.20", ""]
    assert table["`segments=3`"]["rows of 180 s"] == "15 to 3" and table["`segments=3`"]["ms"] == "-12.20"
    assert table["`explain=1`, `vgg19_bn_cqt`, on all cores"]["ms"] == "+105"
    assert "in addition to the 52.7 ms that preparing 30 s takes" in " ".join(text.split())


def test_options_have_a_place_of_their_own(tmp_path):
    page, folder = tmp_path / "docs/options.md", tmp_path / "published"
    page.parent.mkdir()
    page.write_text("<!-- options -->\n<!-- /options -->\n")
    for name, figures in (("costs", COSTS), ("evaluation", FIGURES)):
        (tmp_path / f"{name}.json").write_text(json.dumps(figures))
        publish(tmp_path / f"{name}.json", folder, tmp_path)
    both = f"{section(FIGURES, 'published')}\n{section(COSTS, 'published')}"
    assert page.read_text() == f"<!-- options -->\n{both}<!-- /options -->\n"


def test_an_unknown_system_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.evaluation", "vgg"])
    with pytest.raises(SystemExit):
        evaluation.main()
    assert "'vgg' is not one of vgg19_bn_cqt, vit_b_16_mel" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_evaluation(repository, monkeypatch, tmp_path):
    """Two groups, two sets of options, the real server: denoising and voting gain what they are made for."""
    monkeypatch.setattr(evaluation.evaluation_sets, "GROUPS", {g: SETS[g] for g in ("noise-10", "medley")})
    from server.embedded import embedded

    def on_demo_weights(*flags: str):
        return embedded(f"--model-repository={repository}", *flags)

    monkeypatch.setattr(evaluation, "embedded", on_demo_weights)
    found = evaluation.measure("vgg19_bn_cqt", "auto", seeds=1, quick=True)
    none, first, segments, denoised = (found["sets"][name]["groups"] for name in evaluation.QUICK)
    assert denoised["noise-10"]["top1"] >= none["noise-10"]["top1"] + 0.1
    assert segments["medley"]["top1"] >= first["medley"]["top1"] + 0.1
