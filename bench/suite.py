"""The part of `make bench` for the genre systems: kernels, memory, comparison of pipelines, load, stages, cache.

Servers and workers start once and use no CPU while they wait, so that they can alternate.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tritone_client import Client

from answers.activation import softmax
from bench.baselines import plain
from bench.baselines.worker import Worker
from bench.compare import InProcess, Pipeline, Served, compare
from bench.ideal import Ideal
from bench.kernels import measure_kernels
from bench.perf import Measurement, find_perf_analyzer, measure
from bench.perf_input import write_input
from bench.processes import peak_of_children, pss_mb
from bench.stages import NOT_SERVING, measure_stages
from export.int8 import served_precision
from server.embedded import Embedded, embedded
from server.installation import ROOT
from sounds import collection
from systems import SYSTEMS
from systems.repository import Repository
from systems.variants import INT8_FILE, MANIFEST_FILE, VARIANTS

VGG, VIT, TAGGER = "vgg19_bn_cqt", "vit_b_16_mel", "musicnn_msd"
CONCURRENCY = 8
LIMIT_MS = 500
SONG_SECONDS = 240.0
START = time.monotonic()


@dataclass(frozen=True)
class Scale:
    """Extent of the benchmark.

    Attributes
    ----------
    recordings : distinct recordings per pipeline and turn
    rounds : turns of each pipeline
    window : seconds of a window of perf_analyzer, which measures three
    concurrencies : numbers of requests in flight
    loads : arrival rates of the open loop, relative to the highest throughput
    repeats : repetitions of each cached recording
    requests : number of requests after which the memory is measured
    kernels : recordings for the kernels, and calls for each
    """

    recordings: int
    rounds: int
    window: float
    concurrencies: tuple[int, ...]
    loads: tuple[float, ...]
    repeats: int
    requests: int
    kernels: int


class Suite:
    """The benchmark of the genre systems.

    Parameters
    ----------
    scale : extent of the benchmark
    variant : variant of our server, as in `python -m server`
    folder : folder for perf_analyzer's input
    stack : stops the servers and workers
    quick : skip what takes minutes: article A fully optimised, int8, article B, other formats, songs, profile
        ccmusic, and the open loop
    """

    def __init__(self, scale: Scale, variant: str, folder: Path, stack: ExitStack, *, quick: bool) -> None:
        find_perf_analyzer()  # fails early
        self.scale, self.variant, self.folder, self.stack, self.quick = scale, variant, folder, stack, quick
        self.songs = collection(scale.recordings)
        self.memory: dict = {}

    def run(self) -> dict:
        """Measure all figures, under the names that bench/report.py uses."""
        results: dict = {"kernels": measure_kernels(self.songs[: self.scale.kernels], self.scale.kernels)}
        server = self._start()
        results["comparison"] = self._article_a(server)
        if not self.quick:
            results["formats"] = [self._format(server, kind) for kind in ("WAV", "FLAC")]
        profiles = ("article-a",) if self.quick else ("article-a", "ccmusic")
        results["sweep"] = [row for profile in profiles for row in self._sweep(server, profile)]
        best = max(row["rate"] for row in results["sweep"] if row["profile"] == "article-a")
        if self.scale.loads:
            results["open_loop"] = self._open_loop(server, best)
        results["stages"] = {profile: self._stages(server, profile) for profile in profiles}
        served = {stage: ms for stage, ms in results["stages"]["article-a"].items() if stage not in NOT_SERVING}
        results["overhead_ms"] = sum(served.values())
        results["demo_weights"] = json.loads(onnx(VGG).with_name(MANIFEST_FILE).read_text())["demo"]
        if not self.quick:
            results["song"] = self._song(server)
            self._top_up(server)
        results["memory"] = self.memory
        self.stack.close()  # the following measurements run alone on the machine
        results["repeat"] = self._repeat()
        if not self.quick:
            results["comparison_b"] = self._beside(VIT, "article-b", "article_b.ThreadPool")
            results["comparison_tags"] = self._beside(TAGGER, "musicnn", "tagger.OneByOne")
        return results

    def _start(self) -> Embedded:
        """Start our server with its cache off, and record its memory."""
        with peak_of_children() as peak:
            server = self._serve(VGG, self.variant)
        self.memory = {
            "model": VGG,
            "variant": server.variant,
            "load_peak_mb": peak[0],
            "ready_mb": pss_mb(server.pid),
        }
        self.memory["samples"] = []
        return server

    def _serve(self, system: str, variant: str) -> Embedded:
        say(f"starting {system} on {variant}")
        return self.stack.enter_context(serve(system, variant))

    def _article_a(self, server: Embedded) -> dict:
        """Compare article A's two pipelines, a plain Triton, and our server with its ideal in each precision."""
        kinds = ("OneByOne",) if self.quick else ("OneByOne", "Optimised")
        with ThreadPoolExecutor() as pool:  # they take a while to start
            workers = pool.map(lambda kind: self._worker(f"article_a.{kind}", VGG, self.songs), kinds)
            served = self._plain()  # not in a thread: Triton exits with the thread that started it
        pipelines: list[Pipeline] = [*workers, served]
        servers = [server]
        if not self.quick and server.variant == "openvino" and onnx(VGG).with_name(INT8_FILE).is_file():
            servers.append(self._serve(VGG, "openvino_int8"))
        ideals = {}
        for ours in servers:
            pipelines.append(self._ours(ours, VGG, "article-a", self.songs))
            ideals[ours.variant] = self._ideal(VGG, ours.variant, "article-a")
            pipelines.append(ideals[ours.variant])
        table = self._compare(pipelines, VGG, "article-a", "MP3", self.songs)
        self._sample(server)
        return table | {"floors": {variant: ideal.parts for variant, ideal in ideals.items()}}

    def _beside(self, system: str, profile: str, baseline: str) -> dict:
        """Compare another pipeline with our server, with the network of that pipeline."""
        with ExitStack() as self.stack:
            server = self._serve(system, self.variant)
            ideal = self._ideal(system, server.variant, profile)
            pipelines: list[Pipeline] = [
                self._worker(baseline, system, self.songs),
                self._ours(server, system, profile, self.songs),
                ideal,
            ]
            table = self._compare(pipelines, system, profile, "MP3", self.songs)
            return table | {"floors": {server.variant: ideal.parts}}

    def _format(self, server: Embedded, kind: str) -> dict:
        """Compare article A with our server for another file format."""
        songs = collection(self.scale.recordings // 2, kind=kind)
        pipelines: list[Pipeline] = [
            self._worker("article_a.OneByOne", VGG, songs),
            self._ours(server, VGG, "article-a", songs, tag=kind),
        ]
        return self._compare(pipelines, VGG, "article-a", kind, songs)

    def _song(self, server: Embedded) -> dict:
        """Compare the released pipeline with our server for entire songs, all slices."""
        songs = collection(2, seconds=SONG_SECONDS)
        pipelines: list[Pipeline] = [
            self._worker("official.OneByOne", VGG, songs),
            self._ours(server, VGG, "ccmusic", songs, tag="songs", concurrency=2, seconds=2 * self.scale.window),
        ]
        return self._compare(pipelines, VGG, "ccmusic", "MP3", songs)

    def _compare(
        self, pipelines: Sequence[Pipeline], model: str, profile: str, kind: str, songs: Sequence[bytes]
    ) -> dict:
        rows = compare(pipelines, self.scale.rounds, say)
        head = {"model": model, "profile": profile, "format": kind, "recordings": len(songs)}
        return head | {"rounds": self.scale.rounds, "concurrency": CONCURRENCY, "rows": rows}

    def _worker(self, name: str, system: str, songs: Sequence[bytes]) -> InProcess:
        return InProcess(self.stack.enter_context(Worker(name, system)), songs)

    def _ideal(self, system: str, variant: str, profile: str) -> Ideal:
        return Ideal(system, variant, profile, SYSTEMS[system].spectrum, self.songs)

    def _plain(self) -> Served:
        repository = self.folder / "plain"
        model = plain.write_plain_repository(repository, onnx(VGG))
        server = self.stack.enter_context(plain.plain_server(repository))
        data = write_input(self.folder / "plain.json", self.songs, None)
        return Served(
            "plain Triton",
            "librosa in a Python step, ONNX Runtime float32, defaults",
            server,
            model,
            data,
            CONCURRENCY,
            self.scale.window,
            lambda: np.stack([softmax(plain.ask(server.http, song)) for song in self.songs]),
        )

    def _ours(
        self,
        server: Embedded,
        model: str,
        profile: str,
        songs: Sequence[bytes],
        *,
        tag: str = "",
        concurrency: int = CONCURRENCY,
        seconds: float | None = None,
    ) -> Served:
        def ask() -> np.ndarray:
            with Client(server.grpc) as client:
                answers = [client.classify(song, model=model, profile=profile) for song in songs]
            return np.stack([answer.probabilities for answer in answers])

        name, what = f"Tritone, {server.variant}", f"{precision(server.variant)}, through gRPC"
        data = self._data(profile, songs, tag)
        return Served(name, what, server, model, data, concurrency, seconds or self.scale.window, ask)

    def _data(self, profile: str, songs: Sequence[bytes], tag: str = "") -> Path:
        return write_input(self.folder / f"{profile}{tag}.json", songs, {"profile": profile})

    def _sweep(self, server: Embedded, profile: str) -> list[dict]:
        """Measure throughput and latency by the number of requests in flight."""
        rows = []
        for concurrency in self.scale.concurrencies:
            m = self._measure(server, profile, concurrency=concurrency)
            say(f"{profile}, concurrency {concurrency}: {m.rate:.1f} recordings/s, p50 {m.p50:.0f} ms")
            rows.append({"profile": profile, "concurrency": concurrency, **asdict(m)})
        return rows

    def _open_loop(self, server: Embedded, best: float) -> dict:
        """Measure the latency of independent arrivals, at rates relative to the highest throughput."""
        rows = []
        for load in self.scale.loads:
            m = self._measure(server, "article-a", rate=round(load * best, 2))
            say(f"{load * best:.1f} recordings/s arriving: p50 {m.p50:.0f} ms, p95 {m.p95:.0f} ms")
            rows.append({"offered": round(load * best, 2), **asdict(m)})
        return {"limit_ms": LIMIT_MS, "rows": rows}

    def _measure(self, server: Embedded, profile: str, **load: Any) -> Measurement:
        data = self._data(profile, self.songs)
        measured = measure(server, VGG, data, seconds=self.scale.window, **load)
        self._sample(server, measured.requests)
        return measured

    def _sample(self, server: Embedded, requests: int = 0) -> None:
        """Record the memory after some more requests."""
        samples = self.memory["samples"]
        total = requests + (samples[-1]["requests"] if samples else 0)
        samples.append({"requests": total, "mb": pss_mb(server.pid)})

    def _top_up(self, server: Embedded) -> None:
        """Send short recordings until the memory has been measured after `requests`."""
        data = self._data("article-a", collection(64, seconds=2.0), "short")
        while self.memory["samples"][-1]["requests"] < self.scale.requests:
            measured = measure(server, VGG, data, concurrency=CONCURRENCY, seconds=self.scale.window)
            self._sample(server, measured.requests)

    def _stages(self, server: Embedded, profile: str) -> dict[str, float]:
        return measure_stages(
            server, VGG, self.songs * 2, profile, self._data(profile, self.songs), self.scale.window
        )

    def _repeat(self) -> dict:
        """Measure the latency of cached answers with our client."""
        with (
            embedded(f"--systems={VGG}", f"--variant={self.variant}", "--tuned=no") as server,
            Client(server.grpc) as client,
        ):
            ask: Callable = partial(client.classify, model=VGG, profile="article-a")
            for song in self.songs:
                ask(song)
            before, times = _cache(server), []
            for song in self.songs * self.scale.repeats:
                start = time.perf_counter()
                ask(song)
                times.append((time.perf_counter() - start) * 1e3)
            hits, misses = (after - b for after, b in zip(_cache(server), before, strict=True))
        p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        say(f"repeated recordings: p50 {p50:.1f} ms")
        ratio = hits / (hits + misses)
        return {"recordings": len(self.songs), "requests": len(times), "p50": p50, "p95": p95, "hit_ratio": ratio}


def serve(system: str, variant: str) -> AbstractContextManager[Embedded]:
    """Return our server with shipped settings and its cache off."""
    # Without probes, which would run while other pipelines are measured.
    off = ("--cache-size=0", "--probe-seconds=3600", "--tuned=no")
    return embedded(f"--systems={system}", f"--variant={variant}", *off)


def _cache(server: Embedded) -> tuple[float, float]:
    """Return hits and misses of the response cache from Triton's metrics."""
    with urllib.request.urlopen(f"http://{server.metrics}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    hits, misses = (
        sum(float(line.split()[-1]) for line in lines if line.startswith(f"nv_cache_num_{kind}_per_model{{"))
        for kind in ("hits", "misses")
    )
    return hits, misses


def precision(variant: str) -> str:
    """Return the precision of a variant on this machine."""
    if variant == "openvino":
        return {"bf16": "bfloat16", "f32": "float32"}[served_precision()]
    declared = VARIANTS[variant]
    return "float16" if declared.on_gpu else {INT8_FILE: "int8"}.get(declared.file, "float32")


def onnx(system: str) -> Path:
    """Return the path of the exported network of a system; its manifest is in the same folder."""
    return Repository(ROOT / "model_repository").network(system).onnx.path


def say(line: str) -> None:
    """Print the progress for the user."""
    print(f"bench: {time.monotonic() - START:4.0f} s: {line}", flush=True)
