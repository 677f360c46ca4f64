"""A recording through the real Triton: the answer is the one that PyTorch gives, whoever else is served."""

import concurrent.futures
import json
import os
import signal
import struct
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
from tritone_client import Client, InvalidRecording

from bench.statistics import Counts
from preprocess import prepare
from sounds import recording, sound
from tests.support.making import FFMPEG, by, id3v2, missing_tools, piped
from tests.support.project import SYSTEMS, once
from tests.support.recordings import bad_recordings, encode, music
from tests.support.reference import SPECTRUM, TOLERANCE, in_process


@pytest.fixture(scope="module")
def clients(server):
    with Client(f"grpc://{server.grpc}", timeout=60) as grpc, Client(f"http://{server.http}", timeout=60) as http:
        yield {"grpc": grpc, "http": http}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("profile", ["ccmusic", "article-a", "article-b"])
def test_answers_equal_pytorch_over_grpc_and_http(server, clients, system, profile):
    for family in (2, 11):
        data = recording(family, seed=77, seconds=25.0)
        expected, expected_slices = in_process(system, data, profile)
        grpc, http = (c.classify(data, model=system, profile=profile, top_k=16) for c in clients.values())
        np.testing.assert_array_equal(grpc.probabilities, http.probabilities)
        tolerance = TOLERANCE[server.variant]
        np.testing.assert_allclose(grpc.probabilities, expected, atol=tolerance)
        assert grpc.labels[int(expected.argmax())] == grpc.label
        assert [s.probability for s in grpc.slices] == pytest.approx(expected_slices.max(1), abs=tolerance)
        assert [entry.probability for entry in grpc.top] == sorted(grpc.probabilities.tolist(), reverse=True)
        assert grpc.profile == profile and grpc.weights.demo
        assert (grpc.computed.device, grpc.computed.backend) == ("CPU", server.variant)
        assert any("Demo weights" in note for note in grpc.notes)


@pytest.mark.parametrize("system", SYSTEMS)
def test_curl_with_the_file_as_the_body(server, clients, system, tmp_path):
    song = tmp_path / "song.mp3"
    song.write_bytes(recording(5, seed=3, seconds=15.0))
    url = f"http://{server.http}/v2/models/{system}_raw/infer"
    command = ["curl", "-sS", "--data-binary", f"@{song}", "-H", "Inference-Header-Content-Length: 0", url]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    answer = json.loads(output.splitlines()[-1])  # README: | tail -n 1
    prediction = clients["grpc"].classify(song, model=system)
    assert (answer["label"], answer["probability"]) == (prediction.label, pytest.approx(prediction.probability))


def infer(server, system: str, outputs: tuple[str, ...], data: bytes, classes: int = 0):
    """One request with exactly these outputs, without our client."""
    audio = tritonclient.grpc.InferInput("AUDIO", [1], "BYTES")
    audio.set_data_from_numpy(np.array([data], object))
    wanted = [tritonclient.grpc.InferRequestedOutput(name, class_count=classes) for name in outputs]
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        return client.infer(system, [audio], outputs=wanted)


def test_a_cached_answer_has_the_outputs_that_are_asked_for_now(server):
    """Triton caches what the first request asked for; the second must still get what it asks for."""
    data = recording(7, seed=11, seconds=12.0)
    infer(server, "vgg19_bn_cqt_raw", ("RESULT",), data)
    before = cache_hits(server)
    answer = infer(server, "vgg19_bn_cqt", ("PROBABILITIES", "LABELS"), data)
    assert answer.as_numpy("PROBABILITIES").shape == (16,) and answer.as_numpy("LABELS").shape == (16,)
    assert answer.as_numpy("RESULT") is None
    assert cache_hits(server) == before + 1


def cache_hits(server) -> int:
    with urllib.request.urlopen(f"http://{server.metrics}/metrics") as response:
        lines = response.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("nv_cache_num_hits_per_model"))


def test_options_change_the_cached_answer(clients):
    data = recording(3, seed=12, seconds=12.0)
    first = clients["grpc"].classify(data)
    assert len(clients["grpc"].classify(data, top_k=2).top) == 2
    assert clients["grpc"].classify(data, profile="article-a").profile == "article-a"
    assert not np.array_equal(clients["grpc"].classify(data, jpeg=False).probabilities, first.probabilities)
    assert clients["grpc"].classify(data).raw == first.raw


def test_classification_extension_names_the_labels(server, repository):
    answer = infer(server, "vgg19_bn_cqt", ("PROBABILITIES",), recording(1, seed=5, seconds=12.0), classes=3)
    manifest = json.loads((repository / "vgg19_bn_cqt_network" / "1" / "manifest.json").read_text())
    for line in answer.as_numpy("PROBABILITIES"):
        _, index, label = line.decode().split(":", 2)
        assert manifest["labels"][int(index)]["en"] == label


def test_samples_and_files_in_every_format_agree(clients):
    samples = sound(2, 5, seconds=14.0, sr=48000, channels=2)
    expected = clients["grpc"].classify((samples, 48000))
    for kind in ("wav", "flac", "ogg", "mp3", "m4a", "wma", "opus"):
        prediction = clients["grpc"].classify(encode(samples, 48000, kind))
        assert prediction.label == expected.label, kind
        # The encoders change the sound; a lossless one leaves 16 bits of it.
        tolerance = 0.02 if kind in ("wav", "flac") else 0.3
        np.testing.assert_allclose(prediction.probabilities, expected.probabilities, atol=tolerance)


@once
def test_concurrent_requests_share_batches_and_get_their_own_answers(server):
    """Eight clients, eight lengths and formats; all the answers are PyTorch's for that recording."""
    kinds = ["mp3", "wav", "flac", "ogg", "m4a", "wma", "mp3", "wav"]
    files = [
        encode(sound(2 * k, 40 + k, seconds=12.0 + 6 * k, sr=44100, channels=2), 44100, kind)
        for k, kind in enumerate(kinds)
    ]
    before = Counts.of(server, "vgg19_bn_cqt_network")
    with Client(f"grpc://{server.grpc}", timeout=120) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        predictions = list(pool.map(client.classify, files))
        # One row each: only requests that are joined make a batch here.
        single_before = Counts.of(server, "vgg19_bn_cqt_network")
        list(pool.map(lambda data: client.classify(data, profile="article-a"), files))
    after = Counts.of(server, "vgg19_bn_cqt_network")
    assert (after - before).rows / (after - before).executions > 2
    assert (after - single_before).rows == 8 and (after - single_before).executions < 8
    for data, prediction in zip(files, predictions, strict=True):
        expected, _ = in_process("vgg19_bn_cqt", data, "ccmusic")
        np.testing.assert_allclose(prediction.probabilities, expected, atol=TOLERANCE[server.variant])


def test_each_bad_recording_gets_its_sentence_while_good_ones_are_answered(clients):
    bad = bad_recordings()
    good = [music(2.0, 22050, 1, seed=k) for k in range(len(bad))]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = []
        for samples, (name, (data, words)) in zip(good, bad.items(), strict=True):
            answers.append(pool.submit(clients["grpc"].classify, (samples, 22050)))  # in the same moment
            for client in clients.values():
                if not data:
                    continue  # the client itself refuses to send nothing: next test
                with pytest.raises(InvalidRecording) as error:
                    client.classify(data)
                assert words in str(error.value), name
                assert "\n" not in str(error.value)
        assert all(answer.result().label for answer in answers)


OPTIONS = {"inputs": [], "outputs": [{"name": "RESULT"}]}
AUDIO = {"name": "AUDIO", "datatype": "BYTES", "shape": [1], "data": ["x"]}
PCM = {"name": "PCM", "datatype": "FP32", "shape": [3], "data": [0.0, 0.1, 0.2]}
RATE = {"name": "SAMPLE_RATE", "datatype": "INT32", "shape": [1], "data": [22050]}


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "must specify at least one input|Send either AUDIO"),
        ([AUDIO, PCM, RATE], "Send either AUDIO .* not both"),
        ([PCM], "PCM needs SAMPLE_RATE"),
        ([AUDIO, RATE], "SAMPLE_RATE goes with PCM"),
        ([PCM | {"shape": [0], "data": []}, RATE], "holds no samples"),
        ([PCM, RATE | {"data": [-1]}], "sample rate is -1 Hz"),
        ([PCM, RATE], "lasts 0.000 s; at least 0.5 s"),
        ([AUDIO | {"shape": [2], "data": ["x", "y"]}], "unexpected shape for input 'AUDIO'"),
        ([AUDIO | {"data": [""]}], "empty \\(0 bytes\\)"),
        ([AUDIO, {"name": "OPTIONS", "datatype": "BYTES", "shape": [1], "data": ["{"]}], "OPTIONS is not JSON"),
        (
            [AUDIO, {"name": "OPTIONS", "datatype": "BYTES", "shape": [1], "data": ['{"top": 3}']}],
            "'top' is unknown",
        ),
    ],
)
def test_bad_tensors_are_refused_as_bad_requests(server, inputs, words):
    body = json.dumps({"inputs": inputs, "outputs": [{"name": "RESULT"}]}).encode()
    request = urllib.request.Request(f"http://{server.http}/v2/models/vgg19_bn_cqt/infer", body)
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.code == 400
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(json.load(error.value)["error"])


@pytest.mark.slow
@once
def test_half_an_hour_is_bounded_and_says_so(clients):
    minutes = np.tile(sound(9, 1, seconds=60.0, sr=22050), 30)
    prediction = clients["grpc"].classify(encode(minutes, 22050, "mp3"), timeout=120)
    assert prediction.duration == pytest.approx(1800, abs=1)
    assert len(prediction.slices) == 32 and prediction.slices_total == 158
    assert any("32 of 158 slices" in note for note in prediction.notes)
    starts = [s.start for s in prediction.slices]
    assert max(np.diff(starts)) < 2 * min(np.diff(starts)) and starts[-1] > 1700


def stubs(pid: int, model: str) -> list[int]:
    """Process ids of a model's Python stubs below a launcher."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "triton_python_backend_stub" in command and model in command and _below(int(entry.name), pid):
                found.append(int(entry.name))
    return found


def _below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            return False
    return False


@pytest.mark.slow
@once
def test_a_killed_preprocess_stub_costs_no_answer(server, repository):
    """SIGKILL under load: every call succeeds in the end, and the server is whole within 10 s."""
    model = "vgg19_bn_cqt_preprocess"
    whole = len(stubs(server.pid, model))
    assert whole >= 2
    files = [recording(k, seed=500 + k, seconds=11.5) for k in range(16)]
    with Client(f"grpc://{server.grpc}", timeout=60) as client, concurrent.futures.ThreadPoolExecutor(4) as pool:
        expected = [client.classify(data).label for data in files]
        # A different top_k each time, so that no answer comes from the cache.
        calls = [pool.submit(client.classify, data, top_k=1 + n) for n in range(1, 4) for data in files]
        time.sleep(0.5)
        os.kill(stubs(server.pid, model)[0], signal.SIGKILL)
        killed = time.monotonic()
        while len(stubs(server.pid, model)) < whole or not client.health().ready:
            assert time.monotonic() - killed < 10
            time.sleep(0.1)
        assert [call.result().label for call in calls] == expected * 3
        fresh = recording(4, seed=999, seconds=11.5)
        assert all(client.classify(fresh, top_k=k, timeout=5).label for k in range(1, 9))


def test_warmup_recording_is_a_real_one(repository):
    for system in SYSTEMS:
        content = (repository / f"{system}_preprocess" / "warmup" / "AUDIO").read_bytes()
        (length,) = struct.unpack("<I", content[:4])
        assert len(content) == 4 + length
        assert prepare(content[4:], spectrum=SPECTRUM[system]).rows.shape == (1, 3, 224, 224)


@once
@pytest.mark.skipif(bool(missing_tools()), reason=f"needs Debian's packages with {', '.join(missing_tools())}")
def test_recordings_of_the_field_through_the_server(clients, tmp_path):
    """Of each kind one: heard whole, with a note where something was mended, or refused in a sentence."""
    two = "ffmpeg -v error -y -i {src} -map 0:a -map 0:a -c:a:0 alac -c:a:1 aac {out}"
    unfinished = encode(music(4.0, 16000, 1), 16000, "wav")
    at = unfinished.index(b"data") + 4
    heard = {
        "piped": (piped("lame --quiet -V 2 {src} -")(tmp_path), None),
        "joined": (2 * by("oggenc -Q -o {out} {src}", "ogg", seconds=2.0)(tmp_path), None),
        "another clock": (by(f"{FFMPEG}-c:a libopus -output_ts_offset 20 {{out}}", "webm", 48000)(tmp_path), None),
        "7.1": (by(f"{FFMPEG}-c:a aac {{out}}", "m4a", 48000, 8)(tmp_path), None),
        "no decoder": (by(two, "mov")(tmp_path).replace(b"alac", b"apac"), None),
        "behind a tag": (id3v2() + by("sox {src} {out}", "wav")(tmp_path), None),
        "unfinished": (unfinished[:at] + bytes(4) + unfinished[at + 4 :], "declares 0 bytes of samples"),
        "cancelled": (encode(music(4.0, channels=1)[:, None] * [1, -1], 44100, "wav"), "cancel each other"),
    }
    for name, (data, note) in heard.items():
        for client in clients.values():
            prediction = client.classify(data)
            assert prediction.duration == pytest.approx(4.0, abs=0.1), name
            mended = [n for n in prediction.notes if "Demo weights" not in n and "repeated to fill" not in n]
            assert len(mended) == bool(note) and (note or "") in "".join(mended), name
    refused = {
        "apac": (by(f"{FFMPEG}-c:a alac {{out}}", "mov")(tmp_path).replace(b"alac", b"apac"), "encoded as apac"),
        "endless pause": (b"#!AMR\n" + b"\x7c" * (2 << 20), "CPU time"),
    }
    for name, (data, words) in refused.items():
        with pytest.raises(InvalidRecording) as error:
            clients["grpc"].classify(data)
        assert words in str(error.value), name
