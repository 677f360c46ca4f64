"""Options of the server and what an answer gains by them, over gRPC and over HTTP, and in the command's tables."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tritone_client import AppliedRule, Change, Client, InvalidRecording, UnknownModel
from tritone_client.answers.prediction import OUTPUTS
from tritone_client.display import figures
from tritone_client.transport.request import check_names

from tests.support.command import tritone
from tests.support.triton import Triton


def run(triton: Triton, *args: object) -> subprocess.CompletedProcess[str]:
    return tritone(*args, "--url", triton.grpc)


def test_what_was_not_asked_for_is_not_there(client: Client):
    prediction = client.classify(b"x", explain=0)
    assert prediction.needs_review is prediction.agreement is prediction.explanation is prediction.pictures is None
    assert prediction.uncertainty == {} and prediction.rules == prediction.explained == ()
    with pytest.raises(ValueError, match=r"has no explanation: request it with explain=1 to 4\.$"):
        prediction.overlay(0)
    speech = client.emotion(bytes([3]))
    assert speech.needs_review is None and speech.uncertainty == {}


def test_uncertainty_agreement_and_rules(client: Client):
    prediction = client.classify(b"x", uncertainty="variation_ratio", review_threshold=0.4, voting="majority")
    assert prediction.needs_review is True and prediction.agreement == 0.75
    assert prediction.uncertainty["variation_ratio"] == 0.5 and len(prediction.uncertainty) == 4
    assert client.classify(b"x", uncertainty="variation_ratio").needs_review is False
    change = Change("Symphony", 0.3, 0.41, 0.17)
    because = {"tempo": 152.0, "beat_strength": 0.81}
    assert client.classify(b"x", rules=True).rules == (AppliedRule("fast with a strong beat", because, (change,)),)
    speech = client.emotion(bytes([3]), uncertainty="margin", review_threshold=0.1)
    assert speech.needs_review is True and speech.uncertainty == {"margin": pytest.approx(0.4)}


@pytest.mark.parametrize(("explain", "further"), [(None, []), (0, []), (2, ["EXPLANATION", "PICTURES"])])
def test_only_what_is_asked_for_travels(
    client: Client, monkeypatch: pytest.MonkeyPatch, explain: int | None, further: list[str]
):
    """In the ensemble all outputs are computed; what the request names is what Triton sends."""
    infer = client._transport.infer
    seen = []
    monkeypatch.setattr(client._transport, "infer", lambda *args: seen.append(args[0]) or infer(*args))
    client.classify(b"x", explain=explain)
    assert sorted(seen[0].outputs) == sorted(
        [*further, "LABELS", "PROBABILITIES", "RESULT", "SLICE_PROBABILITIES"]
    )


def test_an_explanation(client: Client):
    prediction = client.classify(b"x", explain=2)
    assert prediction.explained == (1, 0)
    assert prediction.explanation.dtype == np.float32 and prediction.explanation.shape == (2, 14, 14)
    assert prediction.pictures.dtype == np.uint8 and prediction.pictures.shape == (2, 224, 224, 3)
    drawn = prediction.overlay(1)
    assert drawn.dtype == np.uint8 and drawn.shape == (224, 224, 3)
    assert drawn[0, 223].tolist() == [216, 97, 25]  # a quarter of the grey 100, three of the orange
    assert (drawn[100:] == 100).all() and (drawn[:, :100] == 100).all()  # the map is at the top right alone
    json.dumps(prediction.to_dict())


def test_a_map_is_enlarged_as_pillow_does():
    heat = np.random.default_rng(0).random((14, 14), np.float32)
    drawn = figures.overlay(np.zeros((224, 112, 3), np.uint8), heat)
    larger = np.asarray(Image.fromarray(heat).resize((112, 224), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(drawn[..., 0], larger * 255 * 0.75, atol=0.6)
    assert (drawn[..., 2] == 0).all()


def test_a_picture_loses_its_colours_and_not_its_shape():
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    drawn = figures.overlay(picture, np.zeros((14, 14), np.float32))
    np.testing.assert_allclose(drawn, np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2), atol=0.51)


def test_a_server_without_maps_is_no_other_system(client: Client, monkeypatch: pytest.MonkeyPatch):
    """As one of an earlier version: asking with the same method again is no advice."""
    monkeypatch.setattr("tritone_client.calls.prediction_outputs", lambda *_: (*OUTPUTS, "NO_MAPS"))
    with pytest.raises(UnknownModel, match="NO_MAPS"):
        client.classify(b"x", explain=1)


def test_the_method_of_a_system(client: Client):
    assert client.method("vgg19_bn_cqt") == "classify" and client.method("emotion2vec_plus_large") == "emotion"


def test_options_of_the_command(triton: Triton, song: Path):
    options = ("denoise=quietest", "crop_seconds=12.5", "skip_silence=true", "top_k=1", "segments=null", "a=b=c")
    flags = [part for option in options for part in ("-o", option)]
    done = run(triton, "classify", song, "--json", "--top-k", 4, *flags)
    sent = {"a": "b=c", "crop_seconds": 12.5, "denoise": "quietest", "skip_silence": True, "top_k": 1}
    assert done.returncode == 0 and json.loads(done.stdout)["echo"]["options"] == sent, done.stderr
    done = run(triton, "emotion", song, "--smoothing", 2, "-o", "smoothing=1", "-o", "nonsense=1")
    assert done.returncode == 1 and "There is no option 'nonsense'." in done.stderr


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        ("denoise", 2, "'denoise' must have the form KEY=VALUE."),
        ("=1", 2, "'=1' must have the form KEY=VALUE."),
        (
            "model=x",
            1,
            "tritone: 'model' is an argument of the client, not an option of the server",
        ),
    ],
)
def test_what_is_no_option(triton: Triton, song: Path, option: str, code: int, message: str):
    done = run(triton, "classify", song, "-o", option)
    assert done.returncode == code and message in done.stderr and done.stdout == ""


def test_reviews_and_rules_in_tables(triton: Triton, song: Path):
    asked = ("-o", "uncertainty=margin", "-o", "review_threshold=0.1")
    done = run(triton, "classify", song, *asked, "-o", "rules=true")
    assert "\tmargin 0.25 > 0.10\treview\t" in done.stdout
    assert "fast with a strong beat' (tempo 152, beat_strength 0.81): Symphony 41% → 17%." in done.stderr
    song.write_bytes(bytes([3]))
    assert "\treview\t" in run(triton, "emotion", song, *asked).stdout


def test_arguments_are_told_from_options_in_python_too():
    with pytest.raises(InvalidRecording, match="'timeout' is an argument of the client"):
        check_names({"timeout": 3, "denoise": "first"})
