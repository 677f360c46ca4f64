"""Options through the real Triton: each does what it does in-process, and is cached as an answer of its own."""

import json

import numpy as np
import pytest
from tritone_client import Client, InvalidRecording
from tritone_client.answers.prediction import OUTPUTS, parse_prediction
from tritone_client.transport.request import Request, bytes_tensor

from preprocess import Enhancement, Selection, prepare
from sounds import recording
from tests.support.project import once
from tests.support.reference import TOLERANCE, network

pytestmark = once
SYSTEM = "vgg19_bn_cqt"


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def song() -> bytes:
    return recording(3, seed=21, seconds=37.0)


def probabilities(song: bytes, **how: object) -> np.ndarray:
    """Preprocess -> PyTorch fp32 -> softmax: float64 [slices, 16]."""
    import torch

    rows = torch.from_numpy(prepare(song, spectrum="cqt", **how).rows)
    with torch.inference_mode():
        return torch.softmax(network(SYSTEM)(rows).double(), -1).numpy()


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({"crop": "middle", "crop_seconds": 12}, {"selection": Selection(crop="middle", crop_seconds=12)}),
        ({"segments": 2}, {"selection": Selection(segments=2)}),
        (
            {"denoise": "quietest", "loudness": -20, "compress": True},
            {"enhancement": Enhancement(denoise="quietest", loudness=-20, compress=True)},
        ),
    ],
)
def test_options_do_what_they_do_in_process(server, client, song, options, how):
    expected = probabilities(song, **how)
    found = client.classify(song, model=SYSTEM, **options)
    np.testing.assert_allclose(found.slice_probabilities, expected, atol=TOLERANCE[server.variant])
    np.testing.assert_allclose(found.probabilities, expected.mean(0), atol=TOLERANCE[server.variant])
    assert ("heard" in found.raw) == ("selection" in how) and ("cleaned" in found.raw) == ("enhancement" in how)


def test_each_set_of_options_is_cached_by_itself(client, song):
    sets = [
        *({}, {"voting": "majority"}, {"temperature": 3}, {"label_smoothing": 0.2}, {"uncertainty": "margin"}),
        *({"denoise": "first"}, {"segments": 2}, {"segments": 1}, {"rules": True}, {"top_k": 2}),
    ]
    # With the times that preparing took: two answers that agree in them are one.
    first, second = (
        [client.classify(song, model=SYSTEM, timings=True, **options).raw for options in sets] for _ in range(2)
    )
    assert first == second
    for answer in first:
        del answer["timings"]
    texts = {json.dumps(answer, sort_keys=True) for answer in first}
    assert len(texts) == len(sets)


def test_options_that_are_off_are_not_entered(client, song):
    """Not a bit changes whether that is said or not, and the answer says nothing of them."""
    off = dict.fromkeys(("denoise", "loudness", "temperature", "uncertainty", "crop", "segments"))
    off |= {"compress": False, "skip_silence": False, "rules": False, "voting": "mean"}
    off |= {"label_smoothing": 0, "explain": 0, "pictures": 0, "timings": True}  # the last: no cache has that
    plain = client.classify(song, model=SYSTEM)
    added = {"heard", "cleaned", "voting", "calibration", "uncertainty", "needs_review", "rules", "explanation"}
    added.add("pictures")
    assert not added & set(plain.raw)
    inputs = {"AUDIO": bytes_tensor(song), "OPTIONS": bytes_tensor(json.dumps(off).encode())}
    found = parse_prediction(client._run(client._infer(Request(SYSTEM, inputs, OUTPUTS), "classify", None)), 0.0)
    of_each = {"timings", "sha256"}  # the second is the hash of the request
    kept, plain_raw = ({k: v for k, v in each.raw.items() if k not in of_each} for each in (found, plain))
    assert kept == plain_raw
    np.testing.assert_array_equal(found.slice_probabilities, plain.slice_probabilities)


def test_an_unsure_answer_is_marked(client, song):
    found = client.classify(song, model=SYSTEM, top_k=1, temperature=20, uncertainty="entropy")
    assert found.needs_review and len(found.top) == 3
    assert set(found.uncertainty) == {"entropy", "margin", "variation_ratio", "disagreement"}
    assert client.classify(song, model=SYSTEM, top_k=1).needs_review is None


def test_bad_options_are_refused_with_the_good_ones(client, song):
    with pytest.raises(InvalidRecording, match="choose one of null, quietest, first"):
        client.classify(song, model=SYSTEM, denoise="all")
    with pytest.raises(InvalidRecording, match="tritone calibrate --store"):
        client.classify(song, model=SYSTEM, temperature="fitted")


def test_pictures_without_a_network_that_explains(client, song):
    """What the network saw, of the slices that are surest of the answer."""
    plain = client.classify(song, model=SYSTEM)
    found = client.classify(song, model=SYSTEM, pictures=2)
    again = client.classify(song, model=SYSTEM, pictures=2)  # from the response cache
    assert plain.pictures is None and plain.pictured == ()
    np.testing.assert_array_equal(found.probabilities, plain.probabilities)
    np.testing.assert_array_equal(found.pictures, again.pictures)
    label = found.labels.index(found.label)
    assert list(found.pictured) == np.argsort(-found.slice_probabilities[:, label], kind="stable")[:2].tolist()
    rows = prepare(song, spectrum="cqt").rows[list(found.pictured)]
    np.testing.assert_allclose(found.pictures.transpose(0, 3, 1, 2) / 127.5 - 1, rows, atol=1e-6)
    assert found.explanation is None and found.explained == () and "explanation" not in found.raw
