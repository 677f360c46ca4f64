"""OPTIONS and the manifest are checked before anything is served."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from answers.emotion.options import EmotionOptions
from answers.genre.options import GenreOptions, check_profile
from answers.options import check_fitted, parse_options
from preprocess import RecordingError
from systems.repository import read_manifest


def genre(text: bytes | None) -> GenreOptions:
    options = parse_options(text, GenreOptions, profile="ccmusic")
    check_profile(options, ["ccmusic", "article-a"])
    return options


@pytest.mark.parametrize("text", [None, b"", b"  ", b"{}"])
def test_no_options_are_the_defaults(text):
    assert genre(text) == GenreOptions(profile="ccmusic", top_k=5)
    assert parse_options(text, EmotionOptions) == EmotionOptions(
        smoothing=0.5, min_segment=0.5, frame_embeddings=False, timings=False
    )


def test_options_are_read():
    text = b'{"profile": "article-a", "top_k": 3, "jpeg": false}'
    assert genre(text) == GenreOptions(profile="article-a", top_k=3, jpeg=False)
    text = b'{"smoothing": 10, "min_segment": 0.0, "frame_embeddings": true, "timings": true}'
    assert parse_options(text, EmotionOptions) == EmotionOptions(
        smoothing=10, min_segment=0.0, frame_embeddings=True, timings=True
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"top_k=3", 'is not JSON .* such as {"top_k": 3}'),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 3000, "is not JSON"),
        (b" " * 5000, "has 5000 bytes, the limit is 4096"),
        (b"[1]", "must be a JSON object, not list"),
        (b'{"topk": 3}', "'topk' is unknown; choose from .*, profile, top_k, jpeg"),
        (b'{"top_k": 0}', "top_k must be a whole number from 1 up, not 0"),
        (b'{"top_k": "3"}', "not '3'"),
        (b'{"top_k": true}', "not True"),
        (b'{"top_k": 2.5}', "not 2.5"),
        (b'{"jpeg": 1}', "jpeg must be true or false, not 1"),
        (b'{"timings": "yes"}', "timings must be true or false, not 'yes'"),
        (b'{"profile": "official"}', "profile 'official' is unknown; choose one of ccmusic"),
        (b'{"profile": ["a"]}', "profile \\['a'\\] is unknown"),
        (b'{"denoise": true}', "denoise True is unknown; choose one of null, quietest, first"),
        (b'{"denoise_factor": 0}', "denoise_factor must be a number from 0.1 to 10, not 0"),
        (b'{"denoise_floor": 1.5}', "denoise_floor must be a number from 0.0001 to 1, not 1.5"),
        (b'{"loudness": 3}', "loudness must be null or a number of LUFS from -70 to 0, not 3"),
        (b'{"loudness": false}', "not False"),
        (b'{"compress": 1}', "compress must be true or false, not 1"),
        (b'{"compress_threshold": 1}', "compress_threshold must be a number of dB from -80 to 0, not 1"),
        (b'{"compress_ratio": 0.5}', "compress_ratio must be a number from 1 to 100, not 0.5"),
        (b'{"compress_attack": 0}', "compress_attack must be a number of ms from 0.1 to 1000, not 0"),
        (b'{"compress_release": 1e9}', "compress_release must be a number of ms from 1 to 5000, not 1000000000.0"),
        (b'{"temperature": "hot"}', "temperature must be null, \"fitted\" or a number from 0.05 to 20, not 'hot'"),
        (b'{"temperature": 0}', "not 0"),
        (b'{"temperature": Infinity}', "not inf"),
        (b'{"label_smoothing": 0.6}', "label_smoothing must be a number from 0 to 0.5, not 0.6"),
        (
            b'{"uncertainty": "doubt"}',
            "'doubt' is unknown; choose one of null, entropy, margin, variation_ratio, disagreement",
        ),
        (b'{"review_threshold": -1}', "review_threshold must be a number from 0 to 1, not -1"),
        (b'{"crop": "last"}', "crop 'last' is unknown; choose one of null, first, middle, whole"),
        (b'{"crop_seconds": 0.2}', "crop_seconds must be a number of seconds from 1 to 600, not 0.2"),
        (b'{"segments": 33}', "segments must be null or a whole number from 1 to 32, not 33"),
        (b'{"segments": 2.0}', "not 2.0"),
        (b'{"segment_seconds": 121}', "segment_seconds must be a number of seconds from 1 to 120, not 121"),
        (b'{"skip_silence": "no"}', "skip_silence must be true or false, not 'no'"),
        (b'{"voting": "loudest"}', "voting 'loudest' is unknown; choose one of mean, majority, confidence"),
        (b'{"rules": 1}', "rules must be true or false, not 1"),
        (b'{"explain": 5}', "explain must be a whole number from 0 to 4, not 5"),
        (b'{"explain": true}', "not True"),
        (b'{"pictures": 5}', "pictures must be a whole number from 0 to 4, not 5"),
    ],
)
def test_bad_options_get_a_sentence(text, words):
    with pytest.raises(RecordingError, match=words) as error:
        genre(text)
    assert str(error.value).startswith("OPTIONS") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"smoothing=1", 'is not JSON .* such as {"smoothing": 1.0}'),
        (b'{"top_k": 3}', "'top_k' is unknown; choose from denoise, .*, smoothing"),
        (b'{"smoothing": -0.1}', "smoothing must be a number of seconds from 0 to 10, not -0.1"),
        (b'{"smoothing": NaN}', "not nan"),
        (b'{"smoothing": true}', "not True"),
        (b'{"min_segment": 10.5}', "min_segment must be a number of seconds from 0 to 10, not 10.5"),
        (b'{"min_segment": "1"}', "not '1'"),
        (b'{"min_segment": null}', "not None"),
        (b'{"segments": 3}', "'segments' is unknown"),
        (b'{"label_smoothing": 2}', "label_smoothing must be a number from 0 to 0.5, not 2"),
        (b'{"uncertainty": ["entropy"]}', "uncertainty \\['entropy'\\] is unknown"),
        (b'{"frame_embeddings": 1}', "frame_embeddings must be true or false, not 1"),
        (b'{"timings": "yes"}', "timings must be true or false, not 'yes'"),
    ],
)
def test_bad_options_of_an_emotion_system_get_a_sentence(text, words):
    with pytest.raises(RecordingError, match=words) as error:
        parse_options(text, EmotionOptions)
    assert str(error.value).startswith("OPTIONS") and "\n" not in str(error.value)


def test_the_docs_have_every_option_and_its_default():
    text = (Path(__file__).resolve().parents[2] / "docs" / "options.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    named = {word for line in rows.splitlines() for word in re.findall(r"`([a-z_]+)`", line)}
    for kind in (GenreOptions, EmotionOptions):
        for field in fields(kind):
            assert field.name in named, f"{field.name} is not in the table of docs/options.md"
            if (
                field.name.partition("_")[0] in ("denoise", "compress", "crop", "segment", "review")
                and "_" in field.name
            ):
                assert re.search(rf"`{field.name}` \({field.default:g}\b", rows), (
                    f"{field.name} has another default"
                )


def test_a_fitted_temperature_is_refused_where_there_is_none():
    options = genre(b'{"temperature": "fitted"}')
    check_fitted(options, GOOD | {"calibration": {"temperature": 1.4}})
    with pytest.raises(RecordingError, match=r"^OPTIONS: temperature .* tritone calibrate --store"):
        check_fitted(options, GOOD)


GOOD = {
    "format": 1,
    "system": "s",
    "profile": "ccmusic",
    "spectrum": "cqt",
    "input": {"name": "ROWS", "shape": [3, 224, 224]},
    "output": {"name": "LOGITS", "classes": 3},
    "labels": [{"en": name, "zh": name} for name in "ABC"],
    "levels": [{"name": "2", "labels": [{"en": "X"}, {"en": "Y"}], "members": [0, 1, 1]}],
    "source": {"origin": "demo", "location": "generated", "sha256": "00"},
    "demo": True,
}

SPEECH = GOOD | {
    "profile": "emotion2vec",
    "spectrum": None,
    "input": {"name": "WAV", "shape": [-1]},
    "output": {"name": "LOGITS", "classes": 3, "embedding": 8},
    "levels": [],
}


def write(folder, manifest):
    path = folder / "s_network" / "1" / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("manifest", [GOOD, SPEECH], ids=["genre", "speech"])
def test_the_manifest_of_a_network_is_read(tmp_path, manifest):
    write(tmp_path, manifest)
    assert read_manifest(tmp_path, "s").content == manifest


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="s has no weights .* run make export"):
        read_manifest(tmp_path, "s")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "its format is 2, not 1"),
        ({"system": "other"}, "describes other, not s"),
        ({"profile": "article-z"}, "profile 'article-z' is not one of"),
        ({"input": {"name": "ROWS", "shape": [1, 40, 224]}}, "takes .*\\[1, 40, 224\\]"),
        ({"input": {"name": "X", "shape": [3, 224, 224]}}, "takes .*'X'"),
        ({"spectrum": "stft"}, "spectrum 'stft' is not one of cqt, mel"),
        ({"spectrum": None}, "spectrum None is not one of cqt, mel"),
        ({"profile": "emotion2vec"}, "spectrum 'cqt' is not one of None"),
        ({"profile": "emotion2vec", "spectrum": None}, "takes .*ROWS.*, profile emotion2vec makes .*WAV"),
        ({"profile": []}, "it is damaged \\(TypeError"),
        ({"calibration": {"temperature": -1}}, "its temperature -1 is not above 0"),
        ({"calibration": {"temperature": "warm"}}, "it is damaged \\(ValueError"),
        ({"calibration": {}}, "it is damaged \\(KeyError: 'temperature'"),
        ({"labels": None}, "it is damaged \\(TypeError"),
        ({"labels": [{"en": "A"}] * 3}, "it is damaged \\(KeyError: 'zh'"),
        ({"source": {}}, "it is damaged \\(KeyError"),
        ({"output": {"classes": 9}}, "9 outputs but 3 labels"),
        ({"levels": [{"name": "2", "labels": [{}], "members": [0, 1, 0]}]}, "level 2 does not map 3 classes"),
        ({"levels": [{"name": "2", "labels": [{}], "members": [0, 0]}]}, "level 2 does not map 3 classes"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path, change, words):
    write(tmp_path, GOOD | change)
    with pytest.raises(ValueError, match=words):
        read_manifest(tmp_path, "s")


@pytest.mark.parametrize("text", ["", "[]", "null", "{"])
def test_a_damaged_manifest_is_named(tmp_path, text):
    write(tmp_path, {})
    (tmp_path / "s_network" / "1" / "manifest.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"manifest.json does not fit this server: it is damaged .* run make export"
    ):
        read_manifest(tmp_path, "s")
