"""The part of `make bench` for `emotion2vec_plus_large`: first requests, comparison of pipelines, latency, memory.

Pipelines and latency are measured with utterances of 3 to 10 s, memory also with shorter and longer recordings.
The latency of clips of 2 s is measured alone and together with long recordings.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tritone_client import Client, TritoneError

from bench.baselines.worker import Worker
from bench.compare import InProcess, Pipeline, Served, compare
from bench.ideal import SpeechIdeal
from bench.perf import find_perf_analyzer, measure
from bench.perf_input import write_input
from bench.processes import peak_of_children, pss_mb
from bench.suite import CONCURRENCY, Scale, onnx, precision, say, serve
from server.embedded import Embedded
from sounds import utterance, utterances
from systems.variants import MANIFEST_FILE

MODEL = "emotion2vec_plus_large"
SHORTEST, LONGEST = 3.0, 10.0  # seconds
FIRST_SECONDS = (1.3, 3.7, 6.2, 9.4)
LATER = 5  # further requests of each of these lengths
MIXED_SECONDS = (*np.geomspace(0.5, 10, 47), 15.0, 30.0, 40.0)  # the last is cut into windows
CLIP_SECONDS, CLIPS = 2.0, 20
# Durations in seconds of the long recordings that are sent together with the clips.
CALLS: tuple[tuple[float, ...], ...] = ((), (300.0,), (600.0, 600.0))
PREPARED_SECONDS = 3.0  # time until a long recording has reached the network
MIXED_SAMPLES = (50, 150, 250, 350, 450, 550)  # numbers of requests after which the memory is measured


class SpeechSuite:
    """The benchmark of the speech system.

    Parameters
    ----------
    scale : extent of the benchmark; without `requests` the memory is not measured
    variant : variant of our server, as in `python -m server`
    folder : folder for perf_analyzer's input
    """

    def __init__(self, scale: Scale, variant: str, folder: Path) -> None:
        find_perf_analyzer()  # fails early
        self.scale, self.variant, self.folder = scale, variant, folder
        # An odd number: each of perf_analyzer's CONCURRENCY (8) threads sends every eighth recording and starts
        # again at the end, so that all threads send all lengths.
        lengths = np.linspace(SHORTEST, LONGEST, scale.recordings + 1 - scale.recordings % 2)
        self.recordings = utterances(lengths.tolist())

    def run(self) -> dict:
        """Measure all figures, under the names that bench/speech_report.py uses."""
        figures: dict = {"first": []}
        for start in range(self.scale.rounds):
            say(f"starting {MODEL} on {self.variant}")
            with ExitStack() as stack:
                with peak_of_children() as peak:
                    server = stack.enter_context(serve(MODEL, self.variant))
                ready_mb = pss_mb(server.pid)
                figures["first"] += first_requests(server, start)
                if start == 0 and self.scale.requests:
                    figures["beside"] = [beside(server, calls) for calls in CALLS]
                    figures["memory"] = {"load_peak_mb": peak[0], "ready_mb": ready_mb, **self._memory(server)}
                if start == self.scale.rounds - 1:
                    figures |= self._compare(server, stack)
                    figures["load"] = [self._load(server, concurrency) for concurrency in (1, CONCURRENCY)]
        demo = json.loads(onnx(MODEL).with_name(MANIFEST_FILE).read_text())["demo"]
        return {"demo_weights": demo, "speech": figures}

    def _compare(self, server: Embedded, stack: ExitStack) -> dict:
        """Compare article C with our server and its ideal."""

        def ask() -> np.ndarray:
            with Client(server.grpc) as client:
                answers = [client.emotion(recording, model=MODEL) for recording in self.recordings]
            return np.array([list(answer.scores.values()) for answer in answers], np.float32)

        worker = stack.enter_context(Worker("article_c.OneByOne", MODEL))
        name, what = f"Tritone, {server.variant}", f"{precision(server.variant)}, through gRPC"
        data, window = self._data(), self.scale.window
        ours = Served(name, what, server, MODEL, data, CONCURRENCY, window, ask)
        ideal = SpeechIdeal(MODEL, server.variant, self.recordings)
        pipelines: list[Pipeline] = [InProcess(worker, self.recordings), ours, ideal]
        rows = compare(pipelines, self.scale.rounds, say)
        return {
            "model": MODEL,
            "recordings": len(self.recordings),
            "seconds": [SHORTEST, LONGEST],
            "rounds": self.scale.rounds,
            "concurrency": CONCURRENCY,
            "rows": rows,
            "floors": {server.variant: ideal.parts},
        }

    def _data(self) -> Path:
        return write_input(self.folder / "speech.json", self.recordings, None)

    def _load(self, server: Embedded, concurrency: int) -> dict:
        """Measure throughput and latency."""
        m = measure(server, MODEL, self._data(), concurrency=concurrency, seconds=self.scale.window)
        say(f"concurrency {concurrency}: {m.rate:.2f} recordings/s, p50 {m.p50:.0f} ms, p95 {m.p95:.0f} ms")
        return {"concurrency": concurrency, **asdict(m)}

    def _memory(self, server: Embedded) -> dict:
        """Measure the memory after mixed requests of all lengths, CONCURRENCY at a time."""
        recordings = utterances(MIXED_SECONDS)
        samples, done = [], 0
        with Client(server.grpc) as client, ThreadPoolExecutor(CONCURRENCY) as pool:

            def ask(k: int) -> None:
                options: dict[str, Any] = {} if k % 3 else {"granularity": "frame", "embedding": True}
                client.emotion(recordings[k % len(recordings)], model=MODEL, **options)

            for until in MIXED_SAMPLES:
                list(pool.map(ask, range(done, until)))
                done = until
                samples.append({"requests": done, "mb": pss_mb(server.pid)})
                say(f"{done} mixed requests: {samples[-1]['mb']:.0f} MB")
        return {"seconds": [min(MIXED_SECONDS), max(MIXED_SECONDS)], "samples": samples}


def first_requests(server: Embedded, start: int) -> list[dict]:
    """Measure the first request of each length, and later ones of the same length.

    Parameters
    ----------
    server : a server that has just become ready and has no request answered yet
    start : number of the start; it rotates the lengths, so that each is the very first one once

    Returns
    -------
    for each length {"start", "seconds", "very_first", "first" (ms), "later" (ms, median), "ratio"}
    """
    turn = start % len(FIRST_SECONDS)
    found: list[dict] = []
    with Client(server.grpc) as client:
        client.ping()  # exclude the time to connect
        for seconds in FIRST_SECONDS[turn:] + FIRST_SECONDS[:turn]:
            ask = partial(client.emotion, utterance(0, seconds), model=MODEL)
            first, *later = (_milliseconds(ask) for _ in range(1 + LATER))
            middle = statistics.median(later)
            figures = {"first": first, "later": middle, "ratio": first / middle}
            found.append({"start": start, "seconds": seconds, "very_first": not found, **figures})
            say(f"{seconds} s: first request {first:.0f} ms, later ones {middle:.0f} ms")
    return found


def beside(server: Embedded, calls: Sequence[float]) -> dict:
    """Measure the latency of consecutive clips of 2 s while the server processes long recordings.

    Parameters
    ----------
    server : a ready server
    calls : seconds of the long recordings, which are sent at the same time; without any, CLIPS clips are sent

    Returns ------- {"calls" (seconds), "clips", "failed", "median" (ms), "longest" (ms), "call_ms": [time of each
    long recording]}. Clips are sent with the client's defaults; a failed clip counts with the time until its
    failure.
    """
    clips = (utterance(100 * len(calls) + k, CLIP_SECONDS) for k in itertools.count())
    long = [utterance(16 * k, seconds) for k, seconds in enumerate(calls, 1)]
    times: list[float] = []
    failed = 0
    with (
        Client(server.grpc) as client,
        Client(server.grpc, timeout=600) as patient,
        ThreadPoolExecutor(len(calls) + 1) as pool,
    ):
        waiting = [pool.submit(_milliseconds, partial(patient.emotion, call, model=MODEL)) for call in long]
        time.sleep(PREPARED_SECONDS if calls else 0)
        while not all(call.done() for call in waiting) if calls else len(times) < CLIPS:
            start = time.perf_counter()
            try:
                client.emotion(next(clips), model=MODEL)
            except TritoneError:
                failed += 1
            times.append((time.perf_counter() - start) * 1e3)
        call_ms = [call.result() for call in waiting]
    median, longest = statistics.median(times), max(times)
    say(
        f"clips beside {list(calls)} s: {median:.0f} ms, at most {longest:.0f} ms; {failed} of {len(times)} failed"
    )
    figures = {"clips": len(times), "failed": failed, "median": median, "longest": longest, "call_ms": call_ms}
    return {"calls": list(calls), **figures}


def _milliseconds(ask: Callable[[], object]) -> float:
    start = time.perf_counter()
    ask()
    return (time.perf_counter() - start) * 1e3
