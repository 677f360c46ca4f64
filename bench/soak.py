"""`python -m bench.soak --minutes 60`: sends good, invalid and hostile requests, and checks answers and memory.

Every good recording must be answered and every invalid one rejected, whatever other clients send. Some requests
crash the server (--deaths), and the client retries. Memory is that of the launcher and all its processes.
"""

from __future__ import annotations

import argparse
import io
import itertools
import random
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile as sf
from tritone_client import Client, InvalidRecording, TritoneError

from bench import hostile
from bench.processes import pss_mb
from server.embedded import Embedded, embedded
from sounds import collection, recording, utterances

GENRE, SPEECH = "vgg19_bn_cqt", "emotion2vec_plus_large"
CLIENTS = 4
SHARES = {"good": 0.7, "refused": 0.25, "hostile": 0.05}
PAUSE = 1.5  # seconds between two requests of a client: the machine is busy, but not at its limit
QUIET_SECONDS = 60  # before memory is measured at the start
LAST_SECONDS = 150  # and at the end: after an idle minute the launcher releases the memory of earlier requests


def good() -> list[tuple[str, bytes]]:
    """Return songs and utterances of many lengths, each with the client's method for it."""
    songs = [*collection(6), *collection(3, seconds=4, kind="WAV"), recording(2, 1, seconds=300)]
    return [("classify", song) for song in songs] + [
        ("emotion", call) for call in utterances((1, 3, 6, 10, 30, 90))
    ]


def bad(song: bytes) -> list[bytes]:
    """Return files that the server must reject with a sentence."""
    silence = io.BytesIO()
    sf.write(silence, np.zeros(32000, np.int16), 16000, format="WAV")
    return [
        b"",
        b"not a song",
        silence.getvalue(),
        silence.getvalue()[:40],
        random.Random(1).randbytes(1 << 20),
        song[:9],
    ]


class Soak:
    """Clients of one server, and their results."""

    def __init__(self, server: Embedded, deaths: int) -> None:
        songs, speech = good(), utterances((1,))[0]
        row = {"name": "ROWS", "shape": [1, 3, 224, 224], "datatype": "FP32", "data": [0.5] * (3 * 224 * 224)}
        wave = {"name": "WAV", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
        self._targets = [
            hostile.Target(server.http, GENRE, row, "LOGITS", speech),
            hostile.Target(server.http, SPEECH, wave, "LOGITS", speech),
        ]
        self._server = server
        self._good, self._bad = songs, bad(songs[0][1])
        self._attacks = [*hostile.WITHSTOOD.values(), hostile.compressed]
        self._deaths = deaths
        self._ended = threading.Event()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def warm(self) -> None:
        """Send every good recording once."""
        with Client(self._server.grpc, timeout=120) as client:
            for method, data in self._good:
                self._ask(client, method, data, 0.5)

    def run(self, minutes: float) -> None:
        """Send requests; print the memory every minute."""
        begin, end = time.monotonic(), time.monotonic() + 60 * minutes
        deaths = [begin + 60 * minutes * (n + 1) / (self._deaths + 1) for n in range(self._deaths)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._client, seed) for seed in range(CLIENTS)]
            try:
                for minute in itertools.count(1):
                    while time.monotonic() < min(end, begin + 60 * minute):
                        if deaths and time.monotonic() > deaths[0]:
                            deaths.pop(0)
                            hostile.deep(self._targets[0])
                            self.counts["deaths"] += 1
                        time.sleep(0.5)
                    seen = ", ".join(f"{n} {what}" for what, n in sorted(self.counts.items()))
                    print(f"{minute:4d} min  {pss_mb(self._server.pid):6.0f} MB  {seen}", flush=True)
                    if time.monotonic() >= end:
                        break
            finally:
                self._ended.set()
            for client in clients:
                client.result()

    def _client(self, seed: int) -> None:
        rng = random.Random(seed)
        with (
            Client(self._server.grpc, timeout=120) as grpc,
            Client(f"http://{self._server.http}", timeout=120) as http,
        ):
            while not self._ended.wait(PAUSE):
                [kind] = rng.choices(list(SHARES), list(SHARES.values()))
                client = rng.choice((grpc, http))
                if kind == "good":
                    self._ask(client, *rng.choice(self._good), rng.random())
                elif kind == "refused":
                    self._refused(client, rng.choice(self._bad))
                else:
                    rng.choice(self._attacks)(rng.choice(self._targets))
                self.counts[kind] += 1

    def _ask(self, client: Client, method: str, data: bytes, threshold: float) -> None:
        """Send a recording with a new value of an option, so that no cache can answer."""
        try:
            getattr(client, method)(data, review_threshold=threshold)
        except TritoneError as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def _refused(self, client: Client, data: bytes) -> None:
        try:
            client.classify(data)
            self.wrong.append("the server answered a request without a valid recording")
        except InvalidRecording:
            pass
        except TritoneError as error:
            self.wrong.append(f"{type(error).__name__}: {error}")


def main() -> None:
    """Run the test; exit with code 1 if an answer was wrong or memory was not released."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60, help="default: %(default)s")
    parser.add_argument(
        "--deaths", type=int, default=6, help="number of requests that crash the server (default: %(default)s)"
    )
    parser.add_argument("--variant", default="auto", help="as in python -m server (default: %(default)s)")
    options = parser.parse_args()
    log = Path(tempfile.gettempdir(), "tritone-soak.log")
    with embedded(f"--variant={options.variant}", log=log) as server:
        soak = Soak(server, options.deaths)
        ready = pss_mb(server.pid)
        soak.warm()
        time.sleep(QUIET_SECONDS)
        warm = pss_mb(server.pid)
        print(
            f"{server.variant}: {ready:.0f} MB when ready, {warm:.0f} MB after each good recording once",
            flush=True,
        )
        soak.run(options.minutes)
        time.sleep(LAST_SECONDS)
        end = pss_mb(server.pid)
    print(f"{end:.0f} MB at the end: {end / warm - 1:+.1%}; {len(soak.wrong)} wrong (log: {log})")
    for sentence, count in Counter(soak.wrong).most_common(10):
        print(f"  {count} x {sentence}")
    raise SystemExit(bool(soak.wrong) or end > 1.1 * warm)


if __name__ == "__main__":
    main()
