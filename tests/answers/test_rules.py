"""Rules: the shipped files, the arithmetic against the article's, and a sentence for every mistake in a file."""

import itertools
import json

import numpy as np
import pytest

from answers.genre.rules import FEATURES, apply, load_rules, read_rules
from preprocess.features import NAMES as MEASURED
from systems.label_set import label_set

NAMES = {"acousticsense": label_set("acousticsense"), "ccmusic": label_set("ccmusic")}
GENRES = [label.en for label in label_set("acousticsense").labels]
QUIET = {"tempo": 120.0, "beat_strength": 0.1, "low_frequency_share": 0.1, "voice_presence": 0.1}

GOOD = """
[[rule]]
name = "fast"
why = "A reason."
when.tempo.above = 140
factors."A" = 0.5
"""


def names(labels) -> list[str]:
    return [label.en for label in labels.labels]


def article(probabilities: np.ndarray, features: dict[str, float]) -> np.ndarray:
    """The article's function with its numbers replaced by the labels that it names beside them."""
    adjusted = probabilities.astype(np.float64)
    if features["tempo"] > 140 and features["beat_strength"] > 0.7:
        adjusted[GENRES.index("Classical")] *= 0.3
    if features["low_frequency_share"] > 0.6:
        adjusted[GENRES.index("Hip-Hop")] *= 1.5
        adjusted[GENRES.index("Rap")] *= 1.3
    if features["voice_presence"] > 0.6:
        for genre in ("Classical", "Electronic", "World"):
            adjusted[GENRES.index(genre)] *= 0.7
    return adjusted / adjusted.sum()


def test_the_article_s_rules():
    rules, rng = load_rules(GENRES), np.random.default_rng(0)
    fired = 0
    for values in itertools.product((140.0, 140.1), (0.7, 0.71), (0.6, 0.61), (0.6, 0.61)):
        features = dict(zip(QUIET, values, strict=True))
        before = rng.dirichlet(np.ones(16)).astype(np.float32)
        after, applied = apply(rules, before, features, GENRES)
        fired += len(applied)
        assert after.dtype == np.float32
        np.testing.assert_allclose(after, article(before, features), rtol=1e-6)
    assert fired == 4 + 8 + 8


@pytest.mark.parametrize("name", NAMES)
def test_shipped_files(name):
    labels = names(NAMES[name])
    rules = load_rules(labels)
    assert [rule.name for rule in rules] == ["fast with a strong beat", "mostly bass", "a clear voice"]
    assert load_rules([*labels, "Marches"]) == rules
    assert load_rules([label for label in labels if label not in rules[1].factors]) is None
    everything = {"tempo": 150.0, "beat_strength": 0.9, "low_frequency_share": 0.9, "voice_presence": 0.9}
    uniform = np.full(16, 1 / 16, np.float32)
    after = apply(rules, uniform, everything, labels)[0]
    changed = {label for label, p in zip(labels, after / np.median(after), strict=True) if abs(p - 1) > 0.01}
    assert changed == set().union(*(rule.factors for rule in rules))


def test_no_rules_for_other_labels():
    assert load_rules(names(label_set("emotion2vec"))) is None


def test_each_application_is_told(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(GOOD + GOOD.replace('"fast"', '"faster"').replace("140", "150").replace('"A"', '"C"'))
    rules = load_rules(["A", "B", "C"], tmp_path)
    probabilities = np.array([0.5, 0.25, 0.25], np.float32)
    after, applied = apply(rules, probabilities, QUIET | {"tempo": 152.0}, ["A", "B", "C"])
    # 0.5 halves to 0.25 of 0.75, a third each; then C's third halves to a sixth of five sixths.
    np.testing.assert_allclose(after, [0.4, 0.4, 0.2], rtol=1e-6)
    assert [entry["rule"] for entry in applied] == ["fast", "faster"]
    assert [entry["because"] for entry in applied] == [{"tempo": 152.0}] * 2
    first, second = (entry["changes"] for entry in applied)
    assert first == [{"label": "A", "factor": 0.5, "before": 0.5, "after": pytest.approx(1 / 3)}]
    assert second == [{"label": "C", "factor": 0.5, "before": pytest.approx(1 / 3), "after": pytest.approx(0.2)}]
    json.dumps(applied)


def test_where_no_rule_holds_nothing_is_touched():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(16)).astype(np.float32)
    after, applied = apply(load_rules(GENRES), probabilities, QUIET, GENRES)
    assert after is probabilities and applied == []


@pytest.mark.parametrize(("tempo", "holds"), [(60, False), (60.1, True), (89.9, True), (90, False)])
def test_above_and_below_together(tmp_path, tempo, holds):
    (tmp_path / "slow.toml").write_text(
        GOOD.replace("when.tempo.above = 140", "when.tempo = {above=60, below=90}")
    )
    probabilities = np.array([0.5, 0.5], np.float32)
    applied = apply(load_rules(["A", "B"], tmp_path), probabilities, QUIET | {"tempo": tempo}, ["A", "B"])[1]
    assert bool(applied) == holds


def test_two_files_for_the_same_labels(tmp_path):
    for name in ("one.toml", "two.toml"):
        (tmp_path / name).write_text(GOOD)
    (tmp_path / "other.toml").write_text(GOOD.replace('"A"', '"Z"'))
    with pytest.raises(ValueError, match=r"one.toml and two.toml both have rules for these labels; keep one"):
        load_rules(["A", "B"], tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[[rule]]", "[[rule", "mine.toml: not TOML: "),
        (GOOD, "", "mine.toml: expected [[rule]] tables and nothing else, not nothing."),
        ("[[rule]]", "[rule]", "mine.toml: expected [[rule]] tables and nothing else, not rule."),
        ("[[rule]]", "labels = 3\n[[rule]]", "nothing else, not labels, rule."),
        (
            'why = "A reason."',
            "",
            "rule 1 ('fast'): expected the keys name, why, when and factors, not name, when, f",
        ),
        (
            'name = "fast"',
            'title = "fast"',
            "rule 1: expected the keys name, why, when and factors, not title, why",
        ),
        ('"fast"', "3", "rule 1 (3): name must be a text, not 3."),
        ('"A reason."', '" "', "rule 1 ('fast'): why must be a text, not ' '."),
        ("when.tempo.above = 140", "when = {}", "rule 1 ('fast'): when must name at least one, not {}."),
        ('factors."A" = 0.5', "factors = 0.5", "rule 1 ('fast'): factors must name at least one, not 0.5."),
        ("0.5", "0", "rule 1 ('fast'): the factor of 'A' must be a number above 0, not 0."),
        ("0.5", "nan", "the factor of 'A' must be a number above 0, not nan."),
        ("0.5", "true", "the factor of 'A' must be a number above 0, not True."),
        (
            "when.tempo",
            "when.speed",
            "'speed' is not a feature; choose from tempo, beat_strength, low_frequency_share",
        ),
        (
            "tempo.above = 140",
            "tempo.over = 140",
            "the condition on tempo must be above, below or both, not {'over'",
        ),
        ("tempo.above = 140", "tempo = 140", "the condition on tempo must be above, below or both, not 140."),
        ("140", '"fast"', "rule 1 ('fast'): the bounds of tempo must be numbers, not 'fast'."),
        ("above = 140", "above = 140\nwhen.tempo.below = 90", "tempo cannot be above 140 and below 90."),
    ],
)
def test_mistakes_in_a_file(tmp_path, old, new, sentence):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert len(read_rules(path)) == 1
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ValueError) as error:
        load_rules(["A"], tmp_path)
    assert sentence in str(error.value) and str(error.value).startswith(str(path))


def test_rules_know_the_features_that_are_measured():
    assert FEATURES == MEASURED
