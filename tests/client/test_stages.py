"""The X-ray of a recording: its stages add up, are measured where they happen, and no cache answers."""

import io
import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tritone_client import Client, InvalidRecording, ServerUnavailable, UnknownModel
from tritone_client.answer import Runtime
from tritone_client.calls import genre_request
from tritone_client.monitoring import stages
from tritone_client.monitoring.stages import Timing, measure, server_stages
from tritone_client.monitoring.statistics import Counts, scrape
from tritone_client.monitoring.tables import timing_view, verdict

from tests.support.command import TRITONE, tritone
from tests.support.staged import TIMES, Staged
from tests.support.waiting import wait_until

ALL = (
    *("client", "transport", "decode", "spectrogram", "preprocess, rest"),
    *("queue", "network", "postprocess", "ensemble"),
)


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, staged: Staged) -> Iterator[Client]:
    with Client(getattr(staged, request.param)) as client:
        yield client


def test_what_the_server_s_clocks_say_is_told_apart():
    """Numbers worked out by hand: two recordings, seconds of Triton's for both together."""
    timings = [{"decode": 10.0, "picture": 2.0}, {"decode": 14.0, "picture": 4.0}]
    steps = {
        "preprocess": Counts(2, total=0.050, queue=0.004),
        "network": Counts(2, total=0.090, queue=0.010),
        "postprocess": Counts(2, total=0.006, queue=0.002),
    }
    found = server_stages(timings, Counts(2, total=0.150), steps)
    assert found == pytest.approx(
        {
            "decode": 12,
            "picture": 3,
            "preprocess, rest": 8,
            "queue": 8,
            "network": 40,
            "postprocess": 2,
            "ensemble": 2,
        }
    )
    assert list(found)[:3] == ["decode", "picture", "preprocess, rest"] and sum(found.values()) == pytest.approx(
        75
    )


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        ({"a": 5.0, "b": -2.0, "c": 7.0}, {"a": 3, "b": 0, "c": 7}),  # the earlier neighbour
        ({"a": 1.0, "b": -2.0, "c": 7.0}, {"a": 0, "b": 0, "c": 6}),
        ({"a": -1.0, "b": 0.5, "c": -0.5, "d": 4.0}, {"a": 0, "b": 0, "c": 0, "d": 3}),
        ({"a": 1.0, "b": -3.0}, {"a": 0, "b": -2}),
        ({"a": 1.0, "b": 0.0}, {"a": 1, "b": 0}),
    ],
)
def test_no_stage_is_negative_and_the_sum_stays(measured: dict[str, float], shown: dict[str, float]):
    assert stages.without_negatives(measured) == pytest.approx(shown)


def test_self_tests_are_not_called_other_clients():
    console = Console(file=io.StringIO(), width=200)
    console.print(timing_view("a.mp3", replace(found(network=1.0), others=2)))
    assert "at least 2 other requests, of other clients or its self-tests." in console.file.getvalue()


def test_stages_are_where_the_time_went_and_add_up_to_the_client_s(client: Client, tmp_path: Path):
    song = tmp_path / "song.mp3"
    song.write_bytes(f"warm {client.address.protocol}".encode())
    start = time.perf_counter()
    found = measure(client, song, "staged", {}, repeat=4)
    waited = 1e3 * (time.perf_counter() - start)
    assert tuple(found.stages) == ALL
    assert found.ms == pytest.approx(statistics.fmean(found.runs)) and len(found.runs) == 4
    assert sum(found.stages.values()) == pytest.approx(found.ms, rel=1e-9)
    slept = {"decode": "decode", "spectrogram": "spectrogram", "preprocess, rest": "rest"}
    for stage, name in (slept | {"network": "network", "postprocess": "postprocess"}).items():
        assert found.stages[stage] >= 1e3 * TIMES[name], stage
    # Triton's clock of a request stops a little after its answer is on its way.
    assert found.stages["client"] > 0 and found.stages["transport"] >= 0
    assert waited - sum(found.runs) > 1e3 * TIMES["cold"]  # which is not counted
    assert found.others == 0 and found.runtime == Runtime("CPU", "float32", "onnxruntime")


def test_no_cache_answers_however_often_it_is_asked(client: Client, staged: Staged):
    recording = f"again {client.address.protocol}".encode()
    client.classify(recording, model="staged", timings=True)  # in the cache as it is
    before, calls = scrape(staged.metrics, 5.0, {}), staged.calls()
    for _ in range(2):
        measure(client, recording, "staged", {}, repeat=2)
    assert staged.calls() - calls == 2 * (1 + 2)
    assert scrape(staged.metrics, 5.0, {}).since(before)["staged"].hits == 0


def test_blanks_alone_make_the_difference():
    request = genre_request(b"song", "m", options={"profile": "article-a"})
    salted = [request.past_cache for _ in range(100)]
    texts = {one.inputs["OPTIONS"][0] for one in salted}
    assert len(texts) == 100 and all(json.loads(text) == {"profile": "article-a", "top_k": 5} for text in texts)
    assert all(one.inputs["AUDIO"][0] == b"song" for one in salted)


def test_requests_of_other_clients_are_reported(client: Client, staged: Staged):
    def disturbed(numbers):
        for number in numbers:
            yield number
            if number == 1:
                with Client(staged.grpc, retries=0) as other:
                    other.classify(f"other {client.address}".encode(), model="staged")
                    with pytest.raises(InvalidRecording):
                        other.classify(b"bad", model="staged")

    found = measure(client, b"mine", "staged", {}, 3, progress=disturbed)
    assert found.others == 2  # a refused one takes the preprocess step's time as well
    assert sum(found.stages.values()) == pytest.approx(found.ms)


def test_a_server_that_was_started_anew_in_between_is_told(client: Client, monkeypatch: pytest.MonkeyPatch):
    counted, asked = stages.counted, []

    def fallen(*of: object) -> dict[str, Counts]:
        asked.append(of)
        return counted(*of) if len(asked) < 3 else {step: Counts(1, total=0.1) for step in counted(*of)}

    monkeypatch.setattr(stages, "counted", fallen)
    monkeypatch.setattr(stages, "SETTLED_SECONDS", 0.05)
    with pytest.raises(ServerUnavailable, match="The server restarted meanwhile"):
        measure(client, b"anew", "staged", {}, 2)


def test_failures_are_those_of_classify(client: Client):
    with pytest.raises(InvalidRecording, match="no recording"):
        measure(client, b"bad", "staged", {})
    with pytest.raises(UnknownModel):
        measure(client, b"song", "staged_network", {})
    with pytest.raises(InvalidRecording, match="'timeout' is an argument"):
        measure(client, b"song", "staged", {"timeout": 3})


def test_systems_with_fewer_steps_are_measured_as_well(triton, song: Path):
    """Those of the client's other tests have no network of their own, and no timings."""
    with Client(triton.grpc) as client:
        for model in ("vgg19_bn_cqt", "emotion2vec_plus_large"):
            recording = song if model.startswith("vgg") else b"\x03\x04"
            found = measure(client, recording, model, {}, 2)
            assert sum(found.stages.values()) == pytest.approx(found.ms) and found.stages["network"] == 0


def test_the_command(staged: Staged, tmp_path: Path):
    song = tmp_path / "a [b] song.mp3"
    song.write_bytes(b"by hand")
    shown = tritone("timing", str(song), "--model=staged", "--url", staged.grpc, "--repeat=2")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:11]] == ["stage", *ALL, "all"]
    below = " ".join(" ".join(lines[11:]).split())  # however it was wrapped
    assert below.startswith("The network takes") and "a [b] song.mp3 by staged: mean of 2 runs" in below
    record = json.loads(
        tritone("timing", str(song), "--model=staged", "--url", staged.http, "--repeat=2", "--json").stdout
    )
    assert set(record["shares"]) == set(ALL) and sum(record["shares"].values()) == pytest.approx(1)
    assert record["file"] == str(song) and record["others"] == 0
    missing = tritone("profile", "/nowhere.mp3", "--model=staged", "--url", staged.grpc)
    assert (
        missing.returncode == 1 and missing.stderr == "tritone: '/nowhere.mp3' does not exist: check the path.\n"
    )


def test_profile_is_another_name_of_timing():
    names = {name: tritone(name, "--help", env=os.environ | {"COLUMNS": "100"}) for name in ("timing", "profile")}
    assert names["profile"].returncode == 0 and "`tritone profile`" in names["timing"].stdout
    assert names["profile"].stdout == names["timing"].stdout.replace("tritone timing", "tritone profile")


def test_ctrl_c_ends_it_at_once(client: Client, staged: Staged, tmp_path: Path):
    song = tmp_path / "song.mp3"
    song.write_bytes(b"slow")
    client.classify(b"nobody before", model="staged", temperature=str(client.address))
    begun = staged.calls()
    process = subprocess.Popen(
        [
            *(TRITONE, "timing", str(song), "--model=staged"),
            *("--url", str(client.address), "-o", "seconds=1"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: staged.calls() > begun)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert time.monotonic() - start < 2 and process.returncode not in (0, None)
    assert stdout == b"" and b"Traceback" not in stderr


def found(runtime: Runtime | None = None, **ms: float) -> Timing:
    times = dict.fromkeys(ALL, 0.0) | {name.replace("_rest", ", rest"): value for name, value in ms.items()}
    return Timing("s", times, sum(ms.values()), (1.0,), 0, runtime)


@pytest.mark.parametrize(
    "timing, words",
    [
        (found(network=78, decode=22), "The network takes 78%: a GPU or a lower precision"),
        (found(Runtime("CPU", "float32", "onnxruntime"), network=9, decode=1), "90% (float32 on CPU): a GPU"),
        (found(Runtime("NVIDIA H200", "float16", "tensorrt"), network=9, decode=1), "H200): a lower precision"),
        (found(network=40, decode=35, spectrogram=25), "Preprocessing takes 60%, most of it decode"),
        (found(network=30, preprocess_rest=40, spectrogram=30), "most of it preprocess, rest"),
        (found(network=30, queue=70), "Waiting takes 70%"),
        (found(network=30, client=30, transport=40), "Transfer takes 70%"),
        (found(network=30, postprocess=70), "Postprocessing takes 70%"),
    ],
)
def test_the_verdict_names_what_takes_most(timing: Timing, words: str):
    assert words in verdict(timing)
