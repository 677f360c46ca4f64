"""Triton's metrics: read as Prometheus' own client reads them, and true of a server that has done known things."""

import io
import json
import os
import pty
import random
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import tritonclient.grpc as triton_grpc
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from tritone_client import Client, ServerUnavailable, TritoneError
from tritone_client.cli.server import metrics_address, watched
from tritone_client.errors import InvalidUrl
from tritone_client.monitoring.statistics import (
    Counts,
    Gpu,
    Machine,
    Snapshot,
    SystemStatistics,
    by_system,
    parse,
    read,
    scrape,
)
from tritone_client.monitoring.tables import statistics_view
from tritone_client.transport.request import bytes_tensor

from tests.support.command import TRITONE, tritone
from tests.support.staged import QUEUE_SECONDS, TIMES, Staged
from tests.support.triton import free_ports, running
from tests.support.waiting import wait_until


def read_by_reference(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Its samples; it gives counters the suffix that the younger OpenMetrics asks for."""
    return [
        (sample.name.removesuffix("_total"), sample.labels, repr(float(sample.value)))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def read_by_us(text: str) -> list[tuple[str, dict[str, str], str]]:
    return [(sample.name, sample.labels, repr(sample.value)) for sample in parse(text)]


def made_up(seed: int) -> str:
    """Samples with everything that the format allows."""
    draw = random.Random(seed)

    def word() -> str:
        return "".join(draw.choices('ab {}=,"\\\n#é\x0b1', k=draw.randrange(6)))

    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

    lines = []
    for i in range(40):
        blank = draw.choice(["", " "])
        labels = [
            f'{name}{blank}={blank}"{escaped(word())}"'
            for name in draw.sample(["a", "b_1", "_c"], draw.randrange(4))
        ]
        braces = f"{{{blank}{f'{blank},{blank}'.join(labels)}{',' * bool(labels and draw.random() < 0.3)}}}"
        value = draw.choice(["NaN", "+Inf", "-Inf", "1.5e-07", "-3", "4096", "0.1"])
        when = draw.choice(["", " 1395066363000"])
        lines += [f"# HELP m{i} {escaped(word())}", f"# TYPE m{i} gauge"]
        lines += [f"m{i}{braces if labels or blank else ''}{draw.choice([' ', '  ', chr(9)])}{value}{when}"]
    return "\n".join([*lines, ""])


@pytest.mark.parametrize("seed", range(20))
def test_the_format_is_read_as_prometheus_reads_it(seed: int):
    text = made_up(seed)
    assert len(read_by_us(text)) == 40
    assert read_by_us(text) == read_by_reference(text)


@pytest.mark.parametrize("text", ["<html>", "name", "name{a=b} 1", 'name{a="b" 1', "name one", 'n{a="1"b="2"} 1'])
def test_what_is_not_in_the_format_is_refused(text: str):
    with pytest.raises(ValueError):
        parse(text)


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    """A server of these tests alone: what others have begun there is counted when it ends."""
    yield from running(Staged, tmp_path_factory.mktemp("staged"))


def test_the_server_s_own_metrics_are_read_as_prometheus_reads_them(staged: Staged):
    with urllib.request.urlopen(staged.metrics) as answer:
        text = answer.read().decode()
    assert len(read_by_us(text)) > 60
    assert read_by_us(text) == read_by_reference(text)


def test_answers_failures_and_the_cache_are_counted_as_they_were(staged: Staged):
    before = scrape(staged.metrics, 5.0, {})
    slow = threading.Thread(target=lambda: client.classify(b"slow", model="staged", seconds=1.3 * QUEUE_SECONDS))
    with Client(staged.grpc, retries=0) as client:
        for recording in (b"one", b"two", b"one", b"one"):
            client.classify(recording, model="staged")
        for recording in (b"bad", b"bug"):
            with pytest.raises(TritoneError):
                client.classify(recording, model="staged")
        begun = staged.calls()
        slow.start()
        wait_until(lambda: staged.calls() > begun)
        with pytest.raises(
            TritoneError, match="timeout expired"
        ):  # its turn comes after longer than the queue allows
            client.classify(b"late", model="staged")
        slow.join()

    def counted() -> SystemStatistics:
        return by_system(scrape(staged.metrics, 5.0, {}).since(before))[0]

    wait_until(lambda: counted().answered == 5 and counted().failed == 3)
    found = counted()
    assert (found.cache_hits, found.cache_misses) == (2, 3)
    steps = {step.step: step for step in found.steps}
    assert list(steps) == ["preprocess", "network", "postprocess"]
    # A refusal is an answer of the step; a broken one and one that waited too long are none.
    assert [steps[name].requests for name in steps] == [4, 3, 3]
    assert steps["preprocess"].failures == {"BACKEND": 1, "REJECTED": 1}
    assert steps["network"].batch == 1.0
    assert steps["network"].compute_ms >= 1e3 * TIMES["cold"]  # all three were cold
    assert steps["preprocess"].compute_ms >= 1e3 * 1.3 * QUEUE_SECONDS / 4


def test_a_client_that_goes_away_is_counted_at_the_network(staged: Staged):
    before = scrape(staged.metrics, 5.0, {})
    first = threading.Thread(target=lambda: client.classify(b"first", model="staged", seconds=0.15))
    tensors = []
    for name, data in {"AUDIO": b"second", "OPTIONS": b"{}"}.items():
        tensors.append(triton_grpc.InferInput(name, [1], "BYTES"))
        tensors[-1].set_data_from_numpy(bytes_tensor(data))
    begun = staged.calls()
    with Client(staged.grpc) as client, triton_grpc.InferenceServerClient(client.address.target) as other:
        first.start()
        wait_until(lambda: staged.calls() > begun)
        call = other.async_infer("staged", tensors, lambda result, error: None)
        time.sleep(0.05)
        call.cancel()
        first.join()

    def counted() -> SystemStatistics:
        return by_system(scrape(staged.metrics, 5.0, {}).since(before))[0]

    # Triton looks whether a client is still there when it hands a request on to the next step.
    wait_until(lambda: counted().failed == 1)
    assert [step.failures for step in counted().steps] == [{}, {"CANCELED": 1}, {}]
    assert counted().answered == 1


def test_the_statistics_interface_counts_the_same(staged: Staged):
    with urllib.request.urlopen(f"{staged.http}/v2/models/stats") as answer:
        entries = json.load(answer)["model_stats"]
    by_metrics = scrape(staged.metrics, 5.0, {}).models
    assert {entry["name"] for entry in entries} == set(by_metrics) and len(entries) == 4
    for entry in entries:
        found, told = Counts.of_statistics(entry), by_metrics[entry["name"]]
        assert (found.requests, found.rows, found.executions) == (told.requests, told.rows, told.executions)
        for name in ("total", "queue", "compute"):  # whole microseconds of each request
            assert getattr(found, name) == pytest.approx(getattr(told, name), abs=1e-5 * (1 + found.requests))


METRICS = """
nv_inference_request_success{model="s",version="1"} 100
nv_inference_request_success{model="s",version="2"} 20
nv_inference_request_failure{model="s",reason="OTHER",version="1"} 5
nv_inference_request_success{model="s_network",gpu_uuid="GPU-b",version="1"} 50
nv_inference_request_success{model="s_network",gpu_uuid="GPU-a",version="1"} 70
nv_inference_count{model="s_network",gpu_uuid="GPU-a",version="1"} 480
nv_inference_exec_count{model="s_network",gpu_uuid="GPU-a",version="1"} 60
nv_inference_queue_duration_us{model="s_network",gpu_uuid="GPU-a",version="1"} 240000
nv_cache_num_hits_per_model{model="s_chain",version="1"} 30
nv_cache_num_misses_per_model{model="s_chain",version="1"} 90
nv_gpu_utilization{gpu_uuid="GPU-b"} 0.5
nv_gpu_memory_used_bytes{gpu_uuid="GPU-b"} 12e9
nv_gpu_memory_total_bytes{gpu_uuid="GPU-b"} 48e9
nv_gpu_power_usage{gpu_uuid="GPU-b"} 301.4
nv_gpu_utilization{gpu_uuid="GPU-a"} 0.25
nv_cpu_utilization 0.375
nv_cpu_memory_total_bytes 64e9
nv_cpu_memory_used_bytes 16e9
"""


def test_versions_and_gpus_are_added_up_and_the_machine_is_told():
    found = read(parse(METRICS), 1.0)
    [system] = by_system(found.models)
    assert (system.answered, system.failed, system.cache_hits, system.cache_misses) == (120, 3, 30, 90)
    [network] = system.steps
    assert (network.requests, network.batch, network.queue_ms) == (120, 8.0, pytest.approx(2.0))
    assert found.machine == Machine(0.375, 16e9, 64e9)
    assert found.gpus == (Gpu("GPU-a", 0.25, 0.0, 0.0, 0.0), Gpu("GPU-b", 0.5, 12e9, 48e9, 301.4))


def test_a_machine_that_is_not_told_or_not_yet_is_left_out():
    zeros = "\n".join(f"nv_cpu_{name} 0" for name in ("utilization", "memory_total_bytes", "memory_used_bytes"))
    assert read(parse(zeros), 1.0).machine is None and read(parse(""), 1.0).machine is None


def test_counters_that_fell_begin_anew_and_never_give_less_than_nothing():
    before = Snapshot(1.0, {"s": Counts(10, total=5.0), "t": Counts(7)}, None, ())
    after = Snapshot(
        3.0, {"s": Counts(12, total=6.0), "t": Counts(2, failures=Counter(OTHER=1)), "u": Counts(3)}, None, ()
    )
    happened = after.since(before)
    assert {name: counts.requests for name, counts in happened.items()} == {"s": 2, "t": 2, "u": 3}
    assert happened["s"].total == 1.0 and happened["t"].failures == {"OTHER": 1}


@pytest.mark.parametrize("seconds", [None, 2.0])
@pytest.mark.parametrize("width", [80, 119, 120, 140])
def test_no_name_is_folded_on_a_terminal_of_80_columns(width: int, seconds: float | None):
    steps = ("preprocess", "network", "postprocess")
    failures = Counter(REJECTED=3, CANCELED=1)
    models = {"emotion2vec_plus_large": Counts(57000, 57000, 9000, 100000.0, 1.0, 90.0, 30, 40)}
    models |= {f"emotion2vec_plus_large_{step}": Counts(5700, 570000, 900, 9e4, 1.0, 9e4) for step in steps}
    models["emotion2vec_plus_large_network"].failures.update(failures)
    console = Console(file=io.StringIO(), width=width)
    console.print(statistics_view(by_system(models), Snapshot(0.0, models, None, ()), seconds, width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width and not any("…" in line for line in lines)
    names = [line.split()[0] for line in lines if line.startswith(("emotion2vec_plus_large ", "  "))]
    assert [name for name in names if name in ("emotion2vec_plus_large", *steps)] == [
        "emotion2vec_plus_large",
        *steps,
    ]
    assert "emotion2vec_plus_large, network: 1 CANCELED, 3 REJECTED." in lines
    assert (lines[0].split()[-2:] == ["batch,", "rows"]) == (width >= 120)


class Recorded:
    """A server that answers with a text of ours."""

    def __init__(self, port: int, text: str, status: int = 200) -> None:
        self.asked: list[tuple[str, str | None]] = []
        recorded = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                recorded.asked.append((self.path, self.headers.get("x-team")))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", port), Handler)

    def __enter__(self) -> "Recorded":
        threading.Thread(target=lambda: self.server.serve_forever(0.01), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def answered(count: int) -> str:
    return "".join(f'nv_inference_request_success{{model="{name}"}} {count}\n' for name in ("s", "s_network"))


def test_a_watch_outlives_the_server_and_counts_from_its_new_start(capsys: pytest.CaptureFixture[str]):
    [port] = free_ports(1)
    url, earlier = f"http://127.0.0.1:{port}/metrics", None
    for count in (
        100,
        150,
        None,
        None,
        4,
        9,
        2,
    ):  # None: nobody there; then started anew, at last between two looks
        if count is None:
            earlier = watched(url, 5.0, earlier, None, True)
        else:
            with Recorded(port, answered(count)):
                earlier = watched(url, 5.0, earlier, None, True)
    shown = capsys.readouterr()
    records = [json.loads(line) for line in shown.out.splitlines()]
    assert [record["systems"][0]["answered"] for record in records] == [100, 50, 4, 5, 2]
    assert [record["seconds"] is None for record in records] == [True, False, True, False, False]
    assert shown.err.count("--metrics-url") == 2


@pytest.mark.parametrize(
    "text, status",
    [
        *(("Not found", 404), ("<html>hello</html>", 200), ("go_threads 5", 200), ("", 200)),
        ('nv_inference_request_success{model="s",version="1"} NaN', 200),
    ],
)
def test_an_address_that_has_other_things_is_told_in_a_sentence(text: str, status: int):
    [port] = free_ports(1)
    with (
        Recorded(port, text, status),
        pytest.raises(ServerUnavailable, match=f"HTTP status {status}.*--metrics-url.*8002"),
    ):
        scrape(f"http://127.0.0.1:{port}", 5.0, {})


def test_where_the_metrics_are_asked_for():
    assert metrics_address("10.0.0.7:9001", None) == "http://10.0.0.7:8002/metrics"
    assert metrics_address("https://[::1]:444/path", None) == "http://[::1]:8002/metrics"
    assert metrics_address("localhost", "example.com:9002") == "http://example.com:9002"
    for url in ("grpc://127.0.0.1:8002", "http://", "http://host:port"):
        with pytest.raises(InvalidUrl, match="is not an address of metrics"):
            scrape(url, 1.0, {})


def test_what_cannot_be_asked_is_a_sentence():
    for url in ("http://..:8002", "http://127.0.0.1:9/ü"):
        with pytest.raises(ServerUnavailable, match="No metrics can be reached at"):
            scrape(url, 1.0, {})
    with pytest.raises(InvalidUrl, match="TLS files for https://127.0.0.1:9/metrics cannot be used"):
        scrape("https://127.0.0.1:9/metrics", 1.0, {}, "/nowhere.pem")


def test_the_command_sends_the_headers_and_names_the_flag_where_nobody_answers():
    [port] = free_ports(1)
    with Recorded(port, answered(3)) as recorded:
        done = tritone("--header", "x-team: audio", "stats", "--metrics-url", f"127.0.0.1:{port}")
    assert done.returncode == 0 and recorded.asked == [("/metrics", "audio")], done.stderr
    assert re.search(r"^s +3 +0 ", done.stdout, re.M) and "server's start" in done.stdout
    assert "Machine" not in done.stdout and "GPU" not in done.stdout
    gone = tritone("stats", "--metrics-url", f"127.0.0.1:{port}")
    assert gone.returncode == 1 and gone.stdout == ""
    assert gone.stderr.count("\n") == 1 and "--metrics-url" in gone.stderr and "refused" in gone.stderr


def test_a_table_for_people(tmp_path):
    [port] = free_ports(1)
    with Recorded(port, METRICS):
        shown = tritone("stats", "--metrics-url", f"127.0.0.1:{port}").stdout
    assert re.search(r"^s +120 +3 +25% ", shown, re.M) and re.search(r"^  network +2.0 +0.0 +8.0$", shown, re.M)
    assert "Machine: CPU 38%, memory 16.0 of 64.0 GB." in shown
    assert "GPU 1: 50%, memory 12.0 of 48.0 GB, 301 W (GPU-b)." in shown


def test_a_live_table_until_ctrl_c():
    """In a terminal the table is drawn anew in its place; Ctrl-C is its end and no error."""
    [port] = free_ports(1)
    near, far = pty.openpty()
    with Recorded(port, answered(3)) as recorded:
        process = subprocess.Popen(
            [
                TRITONE,
                *("stats", "--watch", "--every", "0.1"),
                f"--metrics-url=127.0.0.1:{port}",
            ],
            stdout=far,
            stderr=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(far)
        wait_until(lambda: len(recorded.asked) >= 3)
        process.send_signal(signal.SIGINT)
        shown = b""
        with suppress(OSError):  # the terminal's end
            while piece := os.read(near, 65536):
                shown += piece
        assert process.wait(20) == 0 and process.stderr.read() == b""
    os.close(near)
    assert b"since" in shown.lower() and b"In the last 0." in shown and b"\x1b[" in shown
