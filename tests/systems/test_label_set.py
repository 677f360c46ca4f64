"""Files of labels: the sets that are declared, and those that users write."""

import pytest

from systems.label_set import LabelError, label_set, named, read_labels


@pytest.mark.parametrize(
    ("text", "names"),
    [('["Folk", "Metal"]', ["Folk", "Metal"]), ('[{"en": "Folk", "zh": "民谣"}]', ["Folk"]), ('"ccmusic"', None)],
)
def test_labels_of_other_weights(text, names, tmp_path):
    (tmp_path / "labels.json").write_text(text)
    labels = read_labels(tmp_path / "labels.json")
    assert [label.en for label in labels.labels] == (names or [label.en for label in label_set("ccmusic").labels])


@pytest.mark.parametrize("text", ["", '"other"', "[]", "{}", "[1]", '[{"en": "Folk"}]', '["a\\nb"]', '[" "]'])
def test_bad_labels(text, tmp_path):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(LabelError, match=r"labels\.json"):
        read_labels(tmp_path / "labels.json")


def test_levels_are_whole():
    for level in label_set("ccmusic").levels:
        assert len(level.members) == len(label_set("ccmusic"))
        assert sorted(set(level.members)) == list(range(len(level.labels)))


def test_levels_of_a_file(tmp_path):
    level = '{"labels": ["x", {"en": "y", "zh": "z"}], "members": [0, 1, 0]}'
    text = f'{{"labels": ["a", "b", "c"], "levels": {{"2": {level}}}}}'
    (tmp_path / "labels.json").write_text(text)
    [level] = read_labels(tmp_path / "labels.json").levels
    assert (level.name, level.members, level.labels[1].zh) == ("2", (0, 1, 0), "z")
    for wrong in ("[0, 1]", "[0, 1, 2]", "[0, 1, -1]", "[0, 1, true]", "0"):
        (tmp_path / "labels.json").write_text(text.replace("[0, 1, 0]", wrong))
        with pytest.raises(LabelError):
            read_labels(tmp_path / "labels.json")


def test_every_declared_set_can_be_read_and_none_names_a_class_twice():
    assert named() == ["acousticsense", "ccmusic", "emotion2vec", "msd", "mtt"]
    for name in named():
        labels = label_set(name)
        for language in ("en", "zh"):
            assert len({getattr(label, language) for label in labels.labels}) == len(labels)
