"""Speech through the real Triton and the full-size network: PyTorch's answer, whoever else is served."""

import concurrent.futures
import io
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
import torch
from tritone_client import Client, EmotionPrediction, InvalidRecording, TritoneError

from answers.activation import softmax
from bench.statistics import Counts
from export.demo_speech import SOUNDS
from preprocess import prepare_speech
from server.embedded import Embedded, embedded
from sounds import FAMILIES, sound
from systems.label_set import label_set
from tests.support.command import TRITONE
from tests.support.project import SPEECH, UNASKED
from tests.support.recordings import bad_recordings, encode
from tests.support.reference import network

SR = 16000
TOLERANCE = {"onnxruntime": 1e-5, "openvino": 5e-2}
"""Of scores; OpenVINO computes in bfloat16 where the CPU does."""
FEATURES = {"onnxruntime": 5e-5, "openvino": 0.3}
"""Of features, which reach 4."""


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def server(request, speech_repository, tmp_path_factory) -> Iterator[Embedded]:
    log = tmp_path_factory.mktemp("speech") / f"{request.param}.log"
    flags = (f"--model-repository={speech_repository}", f"--variant={request.param}", UNASKED)
    with embedded(*flags, log=log) as running:
        assert running.variant == request.param
        yield running


on_one_variant = pytest.mark.parametrize("server", ["openvino"], indirect=True)
"""Of what does not depend on what runs the network: the faster one."""


@pytest.fixture(scope="module")
def client(server) -> Iterator[Client]:
    with Client(f"grpc://{server.grpc}", timeout=120) as client:
        yield client


def speech(output: int, seed: int, seconds: float, sr: int = SR) -> np.ndarray:
    """The generated sound that the demo weights give output `output` for."""
    return sound(list(FAMILIES).index(SOUNDS[output]), seed, seconds=seconds, sr=sr)


def emotion(output: int) -> str:
    return label_set("emotion2vec").labels[output].en


def in_process(recording) -> tuple[np.ndarray, ...]:
    """prepare_speech -> PyTorch fp32, for one window: features, frame scores, embedding and scores."""
    prepared = prepare_speech(recording)
    samples = int(prepared.lengths[0, 0])
    with torch.inference_mode():
        found = network(SPEECH)(torch.from_numpy(prepared.wav[:, :samples]), torch.tensor([[samples]]))
    features, frame_logits, embedding, logits = (x.numpy()[0] for x in found)
    return features, softmax(frame_logits), embedding, softmax(logits)


def test_answers_equal_pytorch_over_grpc_and_http(server, client):
    tolerance, features_tolerance = TOLERANCE[server.variant], FEATURES[server.variant]
    with Client(f"http://{server.http}", timeout=60) as http:
        for output, seconds in ((1, 3.2), (6, 0.7)):
            recording = speech(output, 77, seconds), SR
            features, frame_scores, embedding, scores = in_process(recording)
            grpc, other = (c.emotion(recording, granularity="frame", embedding=True) for c in (client, http))
            np.testing.assert_allclose(list(grpc.scores.values()), scores, atol=tolerance)
            np.testing.assert_allclose(grpc.frame_scores, frame_scores, atol=2 * tolerance)
            np.testing.assert_allclose(grpc.frame_embeddings, features, rtol=0, atol=features_tolerance)
            np.testing.assert_allclose(grpc.embedding, embedding, rtol=0, atol=features_tolerance)
            assert grpc.emotion == emotion(int(scores.argmax())) == max(grpc.scores, key=grpc.scores.get)
            assert grpc.labels == tuple(label.en for label in label_set("emotion2vec").labels)
            assert sum(grpc.scores.values()) == pytest.approx(1)
            assert grpc.weights.demo and any("Demo weights" in note for note in grpc.notes)
            np.testing.assert_array_equal(grpc.frame_embeddings, other.frame_embeddings)
            assert grpc.scores == other.scores


def test_every_sound_has_its_emotion_and_only_what_is_asked_for_travels(client):
    for output in range(len(SOUNDS)):
        prediction = client.emotion((speech(output, 5, 2.4), SR))
        assert (prediction.emotion, prediction.emotion_zh) == (
            emotion(output),
            label_set("emotion2vec").labels[output].zh,
        )
        assert prediction.frame_scores is prediction.embedding is prediction.frame_embeddings is None


def test_eight_recordings_of_eight_lengths_share_batches_and_are_answered_as_alone(server, client):
    waves = [speech(k, 60 + k, 2.71 + 0.04 * k) for k in range(8)]
    assert len({len(wave) for wave in waves}) == 8

    def ask(wave: np.ndarray, smoothing: float) -> EmotionPrediction:
        return client.emotion((wave, SR), granularity="frame", embedding=True, smoothing=smoothing)

    before = Counts.of(server, f"{SPEECH}_network")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda wave: ask(wave, 0.5), waves))
    counts = Counts.of(server, f"{SPEECH}_network") - before
    assert counts.rows == 8 and counts.rows / counts.executions > 2
    exact = server.variant == "onnxruntime"  # bfloat16 has three digits: what is summed in another order shows
    for wave, found in zip(waves, together, strict=True):
        alone = ask(wave, 0.4)  # an option that leaves scores alone, so that no cache answers
        assert alone.emotion == found.emotion
        np.testing.assert_allclose(
            alone.frame_embeddings, found.frame_embeddings, rtol=0, atol=1e-5 if exact else FEATURES["openvino"]
        )
        np.testing.assert_allclose(
            list(alone.scores.values()), list(found.scores.values()), rtol=0, atol=1e-6 if exact else 2e-2
        )


@pytest.mark.slow
@on_one_variant
def test_formats_rates_and_channels_give_the_same_emotion(client):
    for output in range(len(SOUNDS)):
        mono = speech(output, 31, 3.0)
        expected = client.emotion((mono, SR)).emotion
        assert expected == emotion(output)
        high, low = soxr.resample(mono, SR, 48000), soxr.resample(mono, SR, 8000)
        stereo = np.stack([mono, 0.6 * mono], axis=1)
        for name, recording in {
            "stereo": encode(stereo, SR, "wav"),
            "8 kHz": encode(low, 8000, "wav"),
            "48 kHz": encode(high, 48000, "flac"),
            "mp3": encode(soxr.resample(stereo, SR, 44100), 44100, "mp3"),
            "m4a": encode(high, 48000, "m4a"),
        }.items():
            assert client.emotion(recording).emotion == expected, (output, name)


@pytest.mark.slow
@on_one_variant
def test_five_minutes_give_a_timeline(client):
    """Ten parts of half a minute: the timeline names each, but for what lies at the borders."""
    parts = [3, 0, 7, 4, 1, 6, 2, 5, 8, 0]
    whole = np.concatenate([speech(output, 400 + k, 30.0) for k, output in enumerate(parts)])
    found = client.emotion(encode(whole, SR, "mp3"), granularity="frame")
    assert found.duration == pytest.approx(300, abs=0.1) and found.windows == 16
    assert any("16 windows" in note for note in found.notes)
    frames = (int(found.duration * SR) - 400) // 320 + 1
    assert abs(len(found.frame_scores) - frames) <= 1
    starts, ends = [s.start for s in found.segments], [s.end for s in found.segments]
    assert starts[0] == 0 and ends[:-1] == starts[1:] and ends[-1] == pytest.approx(found.duration, abs=0.01)
    right = 0.0
    for segment in found.segments:
        for k, output in enumerate(parts):
            overlap = min(segment.end, 30.0 * (k + 1)) - max(segment.start, 30.0 * k)
            right += max(0.0, overlap) * (segment.emotion == emotion(output))
    assert right / found.duration > 0.8


@pytest.mark.slow
@on_one_variant
def test_a_clip_does_not_wait_for_the_end_of_a_long_call(client):
    """The call has seven windows; the clip waits for one or two."""
    call = np.concatenate([speech(k, 700 + k, 20.0) for k in range(6)])
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        long = pool.submit(client.emotion, (call, SR))
        time.sleep(1.5)  # the call has reached the network
        assert client.emotion((speech(2, 800, 2.0), SR)).emotion == emotion(2)
        assert not long.done()
        assert long.result().windows == 7


@on_one_variant
def test_three_hours_are_refused(client):
    file = io.BytesIO()
    with sf.SoundFile(file, "w", 8000, 1, "PCM_16", format="FLAC") as out:
        for _ in range(180):
            out.write(np.zeros(60 * 8000, np.int16))
    with pytest.raises(InvalidRecording, match=r"lasts 10800\.0 s, the limit is 600 s \(max_seconds\)"):
        client.emotion(file.getvalue())


@on_one_variant
def test_silence_is_flagged_and_too_short_is_refused(client):
    silence = client.emotion((np.zeros(SR, np.float32), SR), granularity="frame")
    assert silence.silence and silence.emotion is None and silence.confidence is None and silence.segments == ()
    assert max(silence.scores.values()) == pytest.approx(1 / 9)
    with pytest.raises(InvalidRecording, match="at least 25 ms"):
        client.emotion((speech(0, 1, 0.02), SR))


@on_one_variant
def test_each_bad_recording_gets_its_sentence_while_good_ones_are_answered(client):
    bad = bad_recordings()
    del bad["silence"], bad["too short"]  # for music only
    bad["more than an hour"] = bad["more than an hour"][0], "3700.0 s, the limit is 600 s"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = []
        for k, (name, (data, words)) in enumerate(bad.items()):
            answers.append(pool.submit(client.emotion, (speech(0, 900 + k, 0.6), SR)))  # in the same moment
            with pytest.raises(InvalidRecording) as error:
                client.emotion(data)
            assert (words in str(error.value) or not data) and "\n" not in str(error.value), name
        assert all(answer.result().emotion for answer in answers)


@on_one_variant
def test_the_wrong_kind_of_question_names_the_right_one(client):
    with pytest.raises(TritoneError, match=r"emotion"):
        client.classify((speech(0, 1, 1.0), SR), model=SPEECH)


@on_one_variant
def test_curl_with_the_file_as_the_body(server, tmp_path):
    file = tmp_path / "call.wav"
    file.write_bytes(encode(speech(3, 8, 2.0), SR, "wav"))
    url = f"http://{server.http}/v2/models/{SPEECH}_raw/infer"
    command = ["curl", "-sS", "--data-binary", f"@{file}", "-H", "Inference-Header-Content-Length: 0", url]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout.splitlines()[-1])
    assert answer["emotion"] == emotion(3) and answer["scores"][answer["emotion"]] == answer["confidence"]


@on_one_variant
def test_command_line_writes_what_users_of_the_web_page_expect(server, tmp_path):
    for k in range(2):
        (tmp_path / f"{k}.wav").write_bytes(encode(speech(k, 10, 2.0), SR, "wav"))
    files = sorted(tmp_path.glob("*.wav"))
    options = [
        "--url",
        f"grpc://{server.grpc}",
        "--granularity",
        "frame",
        "--json",
        "--output-dir",
        tmp_path / "out",
    ]
    output = subprocess.run(
        [TRITONE, "emotion", *files, *options], capture_output=True, text=True, check=True
    ).stdout
    lines = output.splitlines()
    for k, line in enumerate(lines):
        folder = Path(json.loads(line)["folder"])
        result = json.loads((folder / "result.json").read_text())
        assert (result["granularity"], result["frame_length_ms"]) == ("frame", 20)
        assert json.loads(line)["emotion"] == emotion(k)
        assert np.load(folder / "embedding.npy").shape == (len(result["results"]), 1024) == (99, 1024)
