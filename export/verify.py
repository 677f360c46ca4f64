"""`python -m export ... --hub --verify`: classifies the authors' example recordings with the exported networks.

A hub repository may contain example recordings in its folder `examples/`, named after their classes. Each one is
prepared as in the server's preprocess step with default options, the exported network runs in ONNX Runtime on the
CPU, and the functions of the postprocess step compute the answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from answers.emotion import answer as emotion
from answers.emotion.info import EmotionInfo
from answers.emotion.options import EmotionOptions
from answers.genre import answer as genre
from answers.genre.info import GenreInfo
from answers.genre.options import GenreOptions
from export import hub
from export.command import run
from export.errors import ExportError
from export.examples import FOLDER, MAX_FILES, Example, choose, is_recording
from export.sources import Hub, Log
from preprocess import Enhancement, Limits, RecordingError, Selection, prepare, prepare_speech
from systems import System
from systems.manifest import Manifest
from systems.profiles import Profile
from systems.variants import ONNX_FILE

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Network:
    """An exported network with everything that is needed to compute an answer.

    Attributes
    ----------
    system : its system
    profile : profile of its weights
    manifest : content of its manifest
    session : ONNX Runtime on the CPU
    """

    system: System
    profile: Profile
    manifest: dict[str, Any]
    session: onnxruntime.InferenceSession

    @classmethod
    def open(cls, system: System, repository: Path) -> Network:
        """Load the network of a system from a model repository."""
        folder = repository / f"{system.name}_network" / "1"
        session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), providers=["CPUExecutionProvider"])
        manifest = Manifest.read(folder)
        assert manifest is not None, f"{folder} has no manifest"
        return cls(system, manifest.profile, manifest.content, session)

    def labels(self) -> list[str]:
        """Return the English names of the classes."""
        return [label["en"] for label in self.manifest["labels"]]

    def answer(self, recording: bytes) -> tuple[int, float]:
        """Return the server's answer to a recording with default options: the class and its probability.

        Raises
        ------
        RecordingError
            If the recording cannot be used, or is silent.
        ExportError
            If the network computes NaN or infinity.
        """
        best, probability = ANSWERS[self.system.task.name](self, recording)
        if not np.isfinite(probability):
            raise ExportError(
                f"the network of {self.manifest['system']} computes NaN or infinity: its checkpoint is damaged"
            )
        return best, float(probability)

    def limits(self) -> dict[str, Any]:
        """Return the limits of the system's preprocess step, as in its configuration."""
        return {limit.key: json.loads(limit.value) for limit in self.system.task.limits}

    def outputs(self, *inputs: Array) -> list[Array]:
        """Compute the outputs that the answer needs for rows [n, ...], one row at a time to limit the memory."""
        names = [tensor.name for tensor in self.system.task.inputs]
        used = [tensor.name for tensor in self.system.used]
        rows = [
            self.session.run(used, dict(zip(names, (x[i : i + 1] for x in inputs), strict=True)))
            for i in range(len(inputs[0]))
        ]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def _genre(network: Network, recording: bytes) -> tuple[int, float]:
    manifest = network.manifest
    options = GenreOptions(profile=manifest["profile"])
    prepared = prepare(
        recording,
        network.profile,
        spectrum=manifest["spectrum"],
        max_rows=network.system.max_batch_size,
        jpeg=options.jpeg,
        limits=Limits(**network.limits()),
        enhancement=options.part(Enhancement),
        selection=options.part(Selection),
    )
    logits, *_ = network.outputs(prepared.rows)
    found = genre.analyse(logits, GenreInfo.of(prepared, options), manifest)
    best = found.ranking[0]
    return best, found.probabilities[best]


def _emotion(network: Network, recording: bytes) -> tuple[int, float]:
    options = EmotionOptions()
    prepared = prepare_speech(recording, limits=Limits(**network.limits()), enhancement=options.part(Enhancement))
    if prepared.silent:
        raise RecordingError("The recording is silent: it has no emotion.")
    features, logits = network.outputs(prepared.wav, prepared.lengths)
    scores = emotion.analyse(features, logits, EmotionInfo.of(prepared, options), network.manifest).scores
    best = int(scores.argmax())
    return best, scores[best]


# Task -> function from (network, recording) to the best class and its probability.
ANSWERS = {"genre": _genre, "emotion": _emotion}


def verify_all(systems: Sequence[System], source: Hub, repository: Path) -> int:
    """Verify the networks of systems one by one; return the exit code. The parameters are those of `verify`."""

    def work(system: System, log: Log) -> bool:
        verify(system, source, repository, log)
        return False  # nothing was made

    return run("export", systems, work, "the exported networks are there")


def verify(system: System, source: Hub, repository: Path, log: Log) -> None:
    """Print for each example recording of a hub repository whether the network's answer is the class in its name.

    Parameters
    ----------
    source : the hub repository and the commit
    repository : folder of the models, with the network of the system

    Raises
    ------
    ExportError
        If the recordings cannot be fetched from the hub, or the network computes NaN.
    """
    where = f"{source.repository} at {source.revision[:8]}"
    found = {
        path: size
        for path, size in hub.sizes(source.repository, FOLDER, source.revision).items()
        if is_recording(path)
    }
    if not found:
        log(f"nothing to verify with: {where} has no recordings in {FOLDER}/")
        return
    network = Network.open(system, repository)
    examples, left = choose(found, network.labels())
    asked = [example for example in examples if not example.skipped]
    if asked:
        log(f"classifying {len(asked)} example recordings of {where}")
    files = {
        example: hub.download(source.repository, f"{FOLDER}/{example.name}", source.revision) for example in asked
    }
    agreements = _table(network, examples, files)
    print(_summary(agreements, len(asked), len(examples), left), flush=True)


def _table(network: Network, examples: Sequence[Example], files: dict[Example, Path]) -> list[bool]:
    """Print a line for each example when it is classified; return for each answer whether it agrees."""
    labels, agreements = network.labels(), []
    columns = ["file", *(_shown(e.name) for e in examples)], ["expected", *labels], ["answer", *labels]
    widths = [max(map(len, column)) for column in columns]
    print(_line(widths, "file", "expected", "answer", "probability  agree"))
    for example in examples:
        expected = "" if example.expected is None else labels[example.expected]
        if example.skipped:
            cells = [f"skipped: {example.skipped}"]
        else:
            try:
                best, probability = network.answer(files[example].read_bytes())
            except RecordingError as error:
                cells = [f"no answer: {error}"]
            else:
                agreements.append(best == example.expected)
                cells = [labels[best], f"{probability:11.1%}  {'yes' if agreements[-1] else 'no'}"]
        print(_line(widths, _shown(example.name), expected, *cells), flush=True)
    return agreements


def _shown(name: str) -> str:
    """Return a name without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _line(widths: Sequence[int], *cells: str) -> str:
    """Format a line of the table; the last cells may be longer than their column."""
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
    return "  ".join([*padded, *cells[len(padded) :]]).rstrip()


def _summary(agreements: Sequence[bool], asked: int, listed: int, left: int) -> str:
    """Return the last line: how many answers agree."""
    answered, wrong = len(agreements), agreements.count(False)
    parts = [f"{answered - wrong} of {answered} agree" if answered else "nothing was verified"]
    if wrong:
        parts[0] += f", {wrong} {'does' if wrong == 1 else 'do'} not"
    parts += [f"{asked - answered} without an answer"] * (answered < asked)
    parts += [f"{listed - asked} skipped"] * (asked < listed)
    parts += [f"{left} more left out (limit {MAX_FILES})"] * (left > 0)
    return "; ".join(parts)
