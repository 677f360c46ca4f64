"""Which files of a repository are example recordings, and which classes they are named after."""

import pytest
from tritone_client import files as labelled

from export.examples import MAX_BYTES, MAX_FILES, SUFFIXES, UnclearName, choose, is_recording, named_class
from systems.label_set import label_set

GENRES = [label.en for label in label_set("ccmusic").labels]


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("symphony", "Symphony"),
        ("Symphony No. 5", "Symphony"),
        ("0", "Symphony"),
        ("00-take", "Symphony"),
        ("_0", "Symphony"),
        ("15", "Acoustic pop"),
        ("15 track 3", "Acoustic pop"),
        ("3_chamber", "Chamber"),
        ("3chamber", "Chamber"),
        ("14 - Soft rock (live)", "Soft rock"),
        ("7_2", "Contemporary dance pop"),
        ("3_solomon", "Chamber"),
        ("SOFT_ROCK-2", "Soft rock"),
        ("softrock2", "Soft rock"),
        ("soft  rock", "Soft rock"),
        ("Dance pop", "Dance pop"),
        ("chamber", "Chamber"),
        ("chamber music", "Chamber"),
        ("Chamber cabaret & art pop 1", "Chamber cabaret & art pop"),
        ("chamber_cabaret_and_art_pop", "Chamber cabaret & art pop"),
        ("chamber-cabaret-art-pop", "Chamber cabaret & art pop"),
        ("soul_r&b", "Soul / R&B"),
        ("Soul R and B", "Soul / R&B"),
        ("ｏｐｅｒａ", "Opera"),  # full width
    ],
)
def test_names_of_classes(stem, label):
    assert GENRES[named_class(stem, GENRES)] == label


@pytest.mark.parametrize(
    "stem",
    [
        *(
            "",
            "song",
            "solomon burke",
            "operatic",
            "my opera",
            "16",
            "99 luftballons",
            "17_solomon",
            "1st movement",
        ),
        *("-", "and", "soft", "pop", "3" * 5000, "１６"),
    ],
)
def test_names_of_no_class(stem):
    with pytest.raises(UnclearName, match="does not begin with a class"):
        named_class(stem, GENRES)


@pytest.mark.parametrize(
    ("stem", "index"),
    [("80s_hit", 1), ("80 s", 1), ("2-step 4", 2), ("2_x", 2), ("2", 2), ("unuse_10", 4), ("unuse_1", 3)],
)
def test_labels_with_digits(stem, index):
    labels = ["Rock", "80s", "2 step", "unuse_1", "unuse_10"]
    assert named_class(stem, labels) == index


@pytest.mark.parametrize(
    ("stem", "labels", "label"),
    [
        ("3_symphony", GENRES, "Symphony"),  # numbered as its authors do
        ("10_chamber", GENRES, "Chamber"),
        ("0_80s", ["Rock", "80s"], "80s"),
        ("1", ["1", "2"], "1"),
    ],
)
def test_a_name_counts_more_than_the_number_before_it(stem, labels, label):
    assert labels[named_class(stem, labels)] == label


def test_a_label_without_letters_is_never_named():
    with pytest.raises(UnclearName):
        named_class("song", ["&", "???"])


def test_recordings_by_suffix():
    assert set(SUFFIXES) == set(labelled.SUFFIXES)
    assert is_recording("examples/0.MP3") and is_recording("examples/more/0.m4a")
    for path in ("examples/0.txt", "examples/mp3", "examples/._0.mp3", "examples/../0.mp3", "0.mp3"):
        assert not is_recording(path), path


def test_order_and_size():
    found = {f"examples/{name}.mp3": size for name, size in {"10": 5, "2 b": MAX_BYTES, "song": 5}.items()}
    examples, left = choose({**found, "examples/9.mp3": MAX_BYTES + 1}, GENRES)
    assert [(example.name, example.expected) for example in examples] == [
        ("2 b.mp3", 2),
        ("9.mp3", 9),
        ("10.mp3", 10),
        ("song.mp3", None),
    ]
    assert [example.skipped for example in examples] == [
        *(
            None,
            "it has 67108865 bytes, more than the limit of 67108864",
            None,
            "its name does not begin with a class",
        )
    ]
    assert left == 0


def test_number():
    found = {f"examples/{n} {kind}.mp3": 1 for n in range(16) for kind in range(5)} | {"examples/song.mp3": 1}
    examples, left = choose(found, GENRES)
    assert len([example for example in examples if not example.skipped]) == MAX_FILES == 64
    assert left == 16
    assert [example.expected for example in examples[:7]] == [0, 0, 0, 0, 0, 1, 1]
