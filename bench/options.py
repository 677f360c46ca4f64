"""`python -m bench.options`: measures the cost of each option in ms per 30 s of sound.

Each option is timed in this process on one core, alternating with the same calls without it, on generated MP3
recordings (speech: mostly WAV): common work such as decoding cancels out. Options that select parts are measured
on recordings of three minutes; the report also shows how they change the number of rows, which determines the time
of the network. An explanation is one run of its own network on all cores. Needs the exported network of a genre
system; writes costs.json and costs.md to bench/results/.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
from threadpoolctl import threadpool_limits

from answers.genre import answer as genre
from answers.genre.info import GenreInfo
from answers.genre.options import GenreOptions
from answers.genre.rules import Rules, load_rules
from bench.__main__ import finish
from preprocess import Enhancement, Prepared, Selection, prepare, prepare_speech
from server.installation import ROOT
from sounds import FAMILIES, collection, utterances
from systems.repository import Repository, read_manifest

REPOSITORY = ROOT / "model_repository"
SYSTEMS = ("vit_b_16_mel", "vgg19_bn_cqt")
SECONDS, LONG_SECONDS = 30.0, 180.0  # lengths of the recordings
REPEATS = 400  # repetitions of calls that take less than a millisecond

CLEANING = ({"denoise": "quietest"}, {"denoise": "first"}, {"loudness": -23.0}, {"compress": True})
HEARING = ({"crop": "first"}, {"crop": "middle"}, {"segments": 3}, {"segments": 8}, {"skip_silence": True})
RULES = {"rules": True}
ANSWERING = (
    {"temperature": 1.5},
    {"label_smoothing": 0.05},
    {"voting": "majority"},
    {"voting": "confidence"},
    {"uncertainty": "entropy"},
    RULES,
)

Call = Callable[[], object]


class System(NamedTuple):
    """A genre system's manifest and rules, as its steps use them."""

    name: str
    manifest: dict
    rules: Rules | None

    @classmethod
    def read(cls, name: str) -> System:
        """Read the system's manifest; raise ValueError if it has no weights."""
        manifest = read_manifest(REPOSITORY, name).content
        return cls(name, manifest, load_rules([label["en"] for label in manifest["labels"]]))

    def prepare(self, recording: bytes, sent: dict) -> Prepared:
        """Run the preprocess step with these options."""
        options = self._options(sent)
        return prepare(
            recording,
            options.profile,
            spectrum=self.manifest["spectrum"],
            enhancement=options.part(Enhancement),
            selection=options.part(Selection),
            with_features=options.rules,
        )

    def info(self, prepared: Prepared, sent: dict) -> GenreInfo:
        """Return what the preprocess step passes to the postprocess step."""
        return GenreInfo.of(prepared, self._options(sent))

    def answer(self, logits: npt.NDArray[np.float32], info: GenreInfo) -> dict:
        """Run the postprocess step."""
        return genre.to_result(genre.analyse(logits, info, self.manifest, self.rules), info, self.manifest)

    def _options(self, sent: dict) -> GenreOptions:
        return GenreOptions(**{"profile": self.manifest["profile"], **sent})


def main() -> int:
    """Measure all options; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.options", description=__doc__.splitlines()[0])
    quick = bool(os.environ.get("QUICK"))
    parser.add_argument("--quick", action="store_true", default=quick, help="use a quarter of the recordings")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="default: %(default)s")
    arguments = parser.parse_args()
    if not (name := next(filter(is_exported, SYSTEMS), None)):
        print(f"bench.options: {' and '.join(SYSTEMS)} have no weights: run make export", file=sys.stderr)
        return 2
    command = "python -m bench.options" + (" --quick" if arguments.quick else "")
    finish(lambda: {"costs": measure(System.read(name), arguments.quick)}, arguments, command)
    return 0


def is_exported(name: str) -> bool:
    """Return whether a system has weights."""
    return Repository(REPOSITORY).network(name).is_exported


def measure(system: System, quick: bool) -> dict[str, Any]:
    """Measure the entry `costs` of the figures.

    Returns
    -------
    system, seconds, long_seconds : the system and the lengths of the recordings
    without : genre_ms and speech_ms of preparing a recording without options
    options : for each, options, genre_ms, and possibly speech_ms and rows (of a long recording, [without, with])
    maps : for each explaining network, system and ms
    """
    recordings = collection(4 if quick else len(FAMILIES))
    long = collection(1 if quick else 4, seconds=LONG_SECONDS)
    speech = utterances([SECONDS] * len(recordings))
    with threadpool_limits(1):
        without = {
            "genre_ms": statistics.median(timed(partial(system.prepare, each, {})) for each in recordings),
            "speech_ms": statistics.median(timed(partial(prepare_speech, each)) for each in speech),
        }
        options = [*cleaning(system, recordings, speech), *hearing(system, long), *answering(system, recordings)]
    return {
        "system": system.name,
        "seconds": SECONDS,
        "long_seconds": LONG_SECONDS,
        "without": without,
        "options": options,
        "maps": explaining(system.prepare(recordings[0], {}).rows[:1]),
    }


def cleaning(system: System, recordings: Sequence[bytes], speech: Sequence[bytes]) -> list[dict]:
    """Measure the options that change the sound."""
    costs = []
    for sent in CLEANING:
        of_speech = [
            (partial(prepare_speech, each), partial(prepare_speech, each, enhancement=Enhancement(**sent)))
            for each in speech
        ]
        ms = by_turns(preparations(system, recordings, sent))
        costs.append({"options": sent, "genre_ms": ms, "speech_ms": by_turns(of_speech)})
    return costs


def hearing(system: System, recordings: Sequence[bytes]) -> list[dict]:
    """Measure the options that select parts of a recording, and count the rows that remain."""
    costs = []
    for sent in HEARING:
        ms = by_turns(preparations(system, recordings, sent)) * SECONDS / LONG_SECONDS
        rows = [len(system.prepare(recordings[0], options).rows) for options in ({}, sent)]
        costs.append({"options": sent, "genre_ms": ms, "rows": rows})
    return costs


def answering(system: System, recordings: Sequence[bytes]) -> list[dict]:
    """Measure the options of the postprocess step; rules also need features from the preprocess step."""
    prepared = system.prepare(recordings[0], RULES)
    size = len(prepared.rows), len(system.manifest["labels"])
    logits = np.random.default_rng(0).standard_normal(size, np.float32)
    costs = []
    for sent in ANSWERING:
        calls = [partial(system.answer, logits, system.info(prepared, options)) for options in ({}, sent)]
        ms = by_turns([calls] * REPEATS)
        if sent is RULES:
            ms += by_turns(preparations(system, recordings, sent))
        costs.append({"options": sent, "genre_ms": ms})
    return costs


def explaining(row: npt.NDArray[np.float32]) -> list[dict]:
    """Measure the explaining networks that have been built."""
    costs = []
    for name in SYSTEMS:
        model = Repository(REPOSITORY).network(name).explain.path
        if not model.is_file():
            print(f"{name}_explain is missing: run make explain", file=sys.stderr)
            continue
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        run = partial(session.run, None, {"ROWS": row, "CLASS": np.zeros((1, 1), np.int64)})
        run()
        costs.append({"system": name, "ms": statistics.median(timed(run) for _ in range(9))})
    return costs


def preparations(system: System, recordings: Sequence[bytes], sent: dict) -> list[tuple[Call, Call]]:
    """Return pairs of calls that prepare each recording without and with options."""
    return [(partial(system.prepare, each, {}), partial(system.prepare, each, sent)) for each in recordings]


def by_turns(pairs: Sequence[Sequence[Call]]) -> float:
    """Return by how many ms the second calls take longer than the first ones (median, after a warm-up)."""
    for call in pairs[0]:
        call()
    return statistics.median(timed(second) - timed(first) for first, second in pairs)


def timed(call: Call) -> float:
    """Return the milliseconds of a call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    sys.exit(main())
