"""The inner models called by anyone: the steps of a real Triton check what they are sent."""

import hashlib
import json
import threading

import numpy as np
import pytest
import tritonclient.grpc as triton

from answers.info import MAX_BYTES
from bench.statistics import Counts
from server.embedded import embedded
from systems.lengths import BUCKETS
from tests.support.project import UNASKED
from tests.support.recordings import encode, music
from tests.support.small import GENRE, SPEECH, serving, write_genre_system, write_speech_system

TYPES = {"float32": "FP32", "int32": "INT32", "int64": "INT64", "object": "BYTES"}
SONG = encode(music(36, 22050, 1), 22050, "wav")
TALK = encode(music(47.3, 16000, 1), 16000, "wav")
SONGS = {"profile": "ccmusic"}  # three slices


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("direct")
    write_genre_system(folder)
    write_speech_system(folder)
    with serving(folder) as running:
        yield running


def tensors(values: dict) -> list[triton.InferInput]:
    """Inputs of arrays, or of bytes and JSON as BYTES [1]."""
    inputs = []
    for name, value in values.items():
        if isinstance(value, (bytes, dict)):
            value = np.array([value if isinstance(value, bytes) else json.dumps(value).encode()], object)
        inputs.append(triton.InferInput(name, value.shape, TYPES[str(value.dtype)]).set_data_from_numpy(value))
    return inputs


def ask(client, model: str, **values) -> triton.InferResult:
    return client.infer(model, tensors(values))


def refused(client, model: str, **values) -> str:
    """The sentence that a request is refused with."""
    with pytest.raises(triton.InferenceServerException) as error:
        ask(client, model, **values)
    message = error.value.message()
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT", message
    assert "\n" not in message and len(message) < 700
    return message


@pytest.fixture(scope="module")
def song(client) -> dict:
    """What the first genre step makes of a song of three slices, for the last; the network left out."""
    made = ask(client, f"{GENRE}_preprocess", AUDIO=SONG, OPTIONS=SONGS | {"pictures": 1})
    rows = made.as_numpy("ROWS")
    assert len(rows) == 3
    info = json.loads(made.as_numpy("INFO")[0])
    return {"LOGITS": np.zeros((3, 16), np.float32), "KEPT_ROWS": made.as_numpy("KEPT_ROWS"), "INFO": info}


@pytest.fixture(scope="module")
def talk(client) -> dict:
    """Likewise of speech of three windows."""
    made = ask(client, f"{SPEECH}_preprocess", AUDIO=TALK)
    info = json.loads(made.as_numpy("INFO")[0])
    rows, frames = len(made.as_numpy("WAV")), (made.as_numpy("WAV").shape[1] - 400) // 320 + 1
    assert rows == len(info["windows"]) == 3
    return {
        "FEATURES": np.zeros((rows, frames, 1024), np.float32),
        "FRAME_LOGITS": np.zeros((rows, frames, 9), np.float32),
        "INFO": info,
    }


def result(answer: triton.InferResult) -> dict:
    return json.loads(answer.as_numpy("RESULT")[0])


def test_the_steps_answer_each_other(client, song, talk):
    assert result(ask(client, f"{GENRE}_postprocess", **song))["slices_used"] == 3
    assert result(ask(client, f"{SPEECH}_postprocess", **talk))["windows"] == 3


NOT_INFO = [
    (b"", "INFO is not JSON"),
    (b"\xff\xfe\xfd", "INFO is not JSON"),
    (b"[" * 100_000, "INFO is not JSON"),
    (b'{"notes": ' + b"[" * 900 + b"]" * 900 + b"}", "INFO may nest lists and objects at most 3 deep"),
    (b" " * (MAX_BYTES + 1), f"INFO has {MAX_BYTES + 1} bytes, the limit is {MAX_BYTES}"),
    (b"[1]", "INFO must be a JSON object, not list"),
    (b"{}", "INFO: duration must be a number of seconds"),
    (b'{"duration": NaN}', "INFO is not JSON"),
    (b'{"duration": 1e999}', "INFO is not JSON"),
    (b'{"notes": ["\\ud800"]}', "INFO is not JSON"),
]
WRONG = [
    ({"duration": "1"}, "duration must be a number"),
    ({"duration": True}, "duration must be a number"),
    ({"duration": 10**300}, "duration must be a number"),
    ({"notes": [1]}, "notes must be a list of texts"),
    ({"notes": None}, "notes must be a list of texts"),
    ({"milliseconds": {"decode": "1"}}, "milliseconds must be an object of numbers"),
    ({"cleaned": {"compress": {"most_db": [1]}}}, "INFO may nest lists"),
    ({"cleaned": {"compress": 1}}, "cleaned must be an object of objects"),
    ({"sha256": "0" * 63}, "sha256 must be 64 hexadecimal digits"),
    ({"sha256": "x" * 64}, "sha256 must be 64 hexadecimal digits"),
    ({"options": None}, "options must be an object"),
    ({"options": {"voice": 1}}, "INFO: OPTIONS: 'voice' is unknown"),
    ({"options": {"temperature": "fitted"}}, 'temperature cannot be "fitted"'),
]
WRONG_GENRE = [
    ({"slices": [[0, 1]]}, "LOGITS has 3 rows, INFO 1 slices"),
    ({"slices": []}, "LOGITS has 3 rows, INFO 0 slices"),
    ({"slices": [[0, 1, 2]] * 3}, "slices must be a list of [start, end]"),
    ({"slices": [[0, "1"]] * 3}, "slices must be a list of [start, end]"),
    ({"slices_total": 1.5}, "slices_total must be a whole number"),
    ({"seconds_used": None}, "seconds_used must be a number"),
    ({"heard": [1]}, "heard must be null or a list of [start, end]"),
    ({"options": {"voting": "loudest"}}, "voting 'loudest' is unknown"),
    ({"options": {"explain": 5}}, "explain must be a whole number from 0 to 4"),
    ({"options": {"rules": True}, "features": {"tempo": 1}}, "features must be an object of tempo, beat_strength"),
    ({"options": {"rules": True}, "features": {"tempo": [1]}}, "features must be an object of numbers"),
]
WRONG_SPEECH = [
    ({"silent": 0}, "silent must be true or false"),
    ({"windows": [[0, 0, 10]]}, "FEATURES has 3 rows, INFO 1 windows"),
    ({"windows": [[0, 0]] * 3}, "windows must be a list of [first, start, stop]"),
    ({"windows": [[-1, 0, 1]] * 3}, "windows must be a list of [first, start, stop]"),
    ({"windows": [[0, 0, 10**6]] * 3}, "the window [0, 0, 1000000] must start at frame 0 and lie in a row of"),
    ({"windows": [[0, 0, 9], [0, 10, 20], [0, 20, 30]]}, "the window [0, 10, 20] must start at frame 9"),
    ({"windows": [[0, 0, 9], [10, 9, 20], [0, 20, 30]]}, "the window [10, 9, 20]"),
    ({"windows": [[0, 0, 0], [0, 0, 20], [0, 20, 30]]}, "the window [0, 0, 0]"),
    ({"options": {"smoothing": 11}}, "smoothing must be a number of seconds from 0 to 10"),
]


@pytest.mark.parametrize(("text", "words"), NOT_INFO, ids=range(len(NOT_INFO)))
def test_what_is_no_info_is_refused_in_a_sentence(client, song, talk, text, words):
    assert words in refused(client, f"{GENRE}_postprocess", **song | {"INFO": text})
    assert words in refused(client, f"{SPEECH}_postprocess", **talk | {"INFO": text})


@pytest.mark.parametrize(("change", "words"), WRONG + WRONG_GENRE, ids=lambda value: str(value)[:40])
def test_a_wrong_key_of_a_genre_systems_info_is_named(client, song, change, words):
    message = refused(client, f"{GENRE}_postprocess", **song | {"INFO": song["INFO"] | change})
    assert words in message


@pytest.mark.parametrize(("change", "words"), WRONG + WRONG_SPEECH, ids=lambda value: str(value)[:40])
def test_a_wrong_key_of_a_speech_systems_info_is_named(client, talk, change, words):
    message = refused(client, f"{SPEECH}_postprocess", **talk | {"INFO": talk["INFO"] | change})
    assert words in message


def test_rows_that_are_not_those_of_info_are_refused(client, song, talk):
    few = np.zeros((0, 16), np.float32)
    none = song["INFO"] | {"slices": []}
    assert "LOGITS has 0 rows" in refused(client, f"{GENRE}_postprocess", **song | {"LOGITS": few, "INFO": none})
    for shape in ((1, 1, 1, 1), (2, 3, 224, 224), (3, 3, 224, 223)):
        kept = np.zeros(shape, np.float32)
        message = refused(client, f"{GENRE}_postprocess", **song | {"KEPT_ROWS": kept})
        assert f"KEPT_ROWS has the shape {list(shape)}, explain and pictures need [3, 3, 224, 224]" in message
    other = {"FRAME_LOGITS": talk["FRAME_LOGITS"][:, 1:]}
    assert "rows of" in refused(client, f"{SPEECH}_postprocess", **talk | other)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_network_that_answers_no_numbers_is_an_error_of_the_server(client, song, talk, value):
    spoiled = []
    for model, sent, name in (
        (f"{GENRE}_postprocess", song, "LOGITS"),
        (f"{SPEECH}_postprocess", talk, "FRAME_LOGITS"),
        (f"{SPEECH}_postprocess", talk, "FEATURES"),
    ):
        values = sent[name].copy()
        values[0, 0] = value
        with pytest.raises(triton.InferenceServerException, match=f"{name[-6:]}|EMBEDDING") as error:
            ask(client, model, **sent | {name: values})
        assert error.value.status() == "StatusCode.INTERNAL"
        spoiled.append(error.value.message())
    assert all("has NaN or infinite values: the weights are damaged" in message for message in spoiled)


def test_padding_of_a_speech_row_may_be_anything(client, talk):
    """A row has frames that no window takes."""
    logits = talk["FRAME_LOGITS"].copy()
    first, _, stop = talk["INFO"]["windows"][-1]
    logits[-1, stop - first :] = np.nan
    assert stop - first < logits.shape[1]
    assert result(ask(client, f"{SPEECH}_postprocess", **talk | {"FRAME_LOGITS": logits}))["windows"] == 3


def test_logits_of_any_size_make_probabilities(client, song):
    """Over a temperature below 1 float32 does not hold them."""
    logits = np.linspace(-3e38, 3e38, 48, dtype=np.float32).reshape(3, 16)
    info = song["INFO"] | {"options": song["INFO"]["options"] | {"temperature": 0.05}}
    answer = ask(client, f"{GENRE}_postprocess", **song | {"LOGITS": logits, "INFO": info})
    np.testing.assert_allclose(answer.as_numpy("PROBABILITIES"), np.eye(16)[15])


@pytest.mark.parametrize("system", [GENRE, SPEECH])
def test_hostile_options_are_refused_in_a_sentence(client, system):
    recording = SONG if system == GENRE else TALK
    for text in (b"\xff", b"[" * 4000, b'{"a":' * 800, b"[" * 2000 + b"]" * 2000, b" " * 4097, b"9" * 4096):
        assert "OPTIONS" in refused(client, f"{system}_preprocess", AUDIO=recording, OPTIONS=text)
    for depth in range(900, 1010, 5):  # where parsing ends, and just before, where there is little stack left
        nested = b'{"temperature": ' + b"[" * depth + b"]" * depth + b"}"
        assert "OPTIONS" in refused(client, f"{system}_preprocess", AUDIO=recording, OPTIONS=nested)
    long = json.dumps({"temperature": "hot" * 1000}).encode()
    assert "not 'hothothot" in refused(client, f"{system}_preprocess", AUDIO=recording, OPTIONS=long)


@pytest.mark.parametrize("system", [GENRE, SPEECH])
@pytest.mark.parametrize("options", [None, b"", b'{"temperature": 2}', b'{"temperature": 2}  \n'], ids=str)
def test_the_answer_carries_a_digest_of_its_request(client, system, options):
    samples, rate = music(14, 16000, 1), 16000
    file = encode(samples, rate, "wav")
    raw = samples.astype("<f4").tobytes() + rate.to_bytes(4, "little")
    sent = {} if options is None else {"OPTIONS": options}
    pcm = {"PCM": samples, "SAMPLE_RATE": np.array([rate], np.int32)}
    for inputs, recording in (({"AUDIO": file}, file), (pcm, raw)):
        answer = result(ask(client, system, **inputs, **sent))
        assert answer["sha256"] == hashlib.sha256(recording + b"\0" + (options or b"")).hexdigest()


def test_white_space_asks_past_the_cache(client):
    def hits() -> int:
        [model] = client.get_inference_statistics(f"{GENRE}_chain").model_stats
        return model.inference_stats.cache_hit.count

    file, before = encode(music(14, 22050, 1, seed=3), 22050, "wav"), hits()
    answers = [result(ask(client, GENRE, AUDIO=file, OPTIONS=text)) for text in (b"{}", b"{} ", b"{} ")]
    assert hits() == before + 1
    digests = [answer.pop("sha256") for answer in answers]
    assert digests[0] != digests[1] == digests[2] and answers[0] == answers[1] == answers[2]


def test_a_row_that_is_too_long_is_refused_and_not_run(client):
    length = np.array([[16000]], np.int64)
    message = refused(client, f"{SPEECH}_network", WAV=np.zeros((1, BUCKETS[-1] + 1), np.float32), LENGTH=length)
    assert f"{BUCKETS[-1] + 1}" in message and f"{BUCKETS[-1]}" in message
    longest = ask(client, f"{SPEECH}_network", WAV=np.zeros((1, BUCKETS[-1]), np.float32), LENGTH=length)
    assert longest.as_numpy("FEATURES").shape[0] == 1


def test_requests_do_not_wait_for_the_next_ones_at_the_last_step(tmp_path):
    """As Triton's dynamic batcher lets them: the last of a burst half a second for each two before it."""
    write_genre_system(tmp_path)
    flags = f"--model-repository={tmp_path}", "--variant=onnxruntime", UNASKED
    with (
        embedded(*flags, log=tmp_path / "server.log") as running,
        triton.InferenceServerClient(running.grpc) as client,
    ):
        made = ask(client, f"{GENRE}_preprocess", AUDIO=SONG, OPTIONS=SONGS)
        sent = {"LOGITS": np.zeros((3, 16), np.float32)}
        sent |= {"KEPT_ROWS": made.as_numpy("KEPT_ROWS"), "INFO": made.as_numpy("INFO")[0]}
        inputs, count = tensors(sent), 40
        failures, done = [], threading.Semaphore(0)

        def receive(result, error):
            failures.append(error)
            done.release()

        before = Counts.of(running, f"{GENRE}_postprocess")
        for _ in range(count):
            client.async_infer(f"{GENRE}_postprocess", inputs, receive)
        assert all(done.acquire(timeout=60) for _ in range(count))
        assert not any(failures)
        counts = Counts.of(running, f"{GENRE}_postprocess") - before
        assert counts.queue / count < 0.5
