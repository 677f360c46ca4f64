"""Settings tuned for this machine by `make tune`: whether they count, and how they are kept.

A tuned configuration is `configs/local.pbtxt` beside a model's `config.pbtxt`: complete, with a first line that
says what it was made for. Triton takes one --model-config-name for all models and gives a model without such a
file its `config.pbtxt`, which for a network means ONNX Runtime. So as soon as one system is tuned, the steps of
all have a local.pbtxt, a copy of the shipped one where nothing was gained, and those of the systems served count
together or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from systems.repository import Repository, configuration

NAME = "local"  # for Triton's --model-config-name
STEPS = ("preprocess", "network")  # those of a system that are tuned


@dataclass(frozen=True)
class Note:
    """The first line of a tuned configuration.

    Attributes
    ----------
    machine : that it was measured on, as `this_machine` names it
    variant : that it was made from
    date : day, "2026-11-21"
    gain : throughput of its system as a multiple of the shipped configuration's; None for a copy of that
    shipped : sha256 of the shipped configuration that it was made from
    """

    machine: str
    variant: str
    date: str
    gain: float | None
    shipped: str

    @classmethod
    def read(cls, path: Path) -> Note | None:
        """The note of a file; None if it has none, as one that somebody wrote by hand."""
        try:
            with path.open(encoding="utf-8") as file:
                return cls(**json.loads(file.readline().removeprefix("#")))
        except (ValueError, TypeError):
            return None


def this_machine() -> str:
    """Processor and usable cores: where they are the same, tuned settings hold."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    name = fields.get("model name", platform.machine())
    # Some virtual machines call every processor of a maker the same.
    kind = [f"{key.split()[-1]} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    return ", ".join([name, *kind, f"{len(os.sched_getaffinity(0))} cores"])


def shipped_file(model: Path, variant: str) -> Path:
    """The configuration that Triton takes for a variant when nothing is tuned.

    Parameters
    ----------
    model : folder of a model in the repository
    """
    special = configuration(model, variant)
    return special if special.is_file() else model / "config.pbtxt"


def local_file(model: Path) -> Path:
    """Where the tuned configuration of a model lies."""
    return configuration(model, NAME)


def fault(model: Path, variant: str, machine: str) -> str | None:
    """Why the tuned configuration of a model does not count, as half a sentence; None if it does."""
    path = local_file(model)
    if not path.is_file():
        return f"{model.name} has no tuned configuration"
    note = Note.read(path)
    if note is None:
        return f"make tune did not write the configuration of {model.name}"
    if note.machine != machine:
        return f"{model.name} was tuned on another machine ({note.machine}; this one is {machine})"
    if note.variant != variant:
        return f"{model.name} was tuned for variant {note.variant}"
    if note.shipped != _digest(shipped_file(model, variant)):
        return f"{model.name} was tuned for an older configuration"
    return None


def judge(repository: Repository, systems: list[str], variant: str, machine: str) -> tuple[bool, str]:
    """Whether to serve the tuned configurations of some systems.

    Parameters
    ----------
    repository : the model repository
    systems : that will be served
    variant : how their networks will run
    machine : `this_machine`

    Returns
    -------
    whether, and one line that says what was gained or why they are ignored; empty where nothing was tuned
    """
    models = [repository.model(system, step) for system in systems for step in STEPS]
    notes = {model: Note.read(local_file(model)) for model in models if local_file(model).is_file()}
    if all(note is not None and note.gain is None for note in notes.values()):
        return False, ""
    for model in models:
        if why := fault(model, variant, machine):
            return False, f"configs/{NAME}.pbtxt is ignored: {why}; make tune writes new ones"
    parts = []
    for system in systems:
        note = notes[repository.model(system, "network")]
        gained = "as shipped"
        if note and note.gain:
            gained = f"as tuned on {note.date}: {note.gain:.2f} times the shipped throughput"
        parts.append(f"{system} {gained}")
    return True, ", ".join(parts)


def keep(
    repository: Repository,
    system: str,
    variant: str,
    machine: str,
    date: str,
    gain: float | None = None,
    configurations: Mapping[str, str] | None = None,
) -> list[str]:
    """Write the tuned configurations of a system, or remove them, and see to it that the other systems fit.

    Parameters
    ----------
    repository : the model repository
    system : that was tuned
    variant, machine, date, gain : as in `Note`; gain is None where nothing was gained
    configurations : step ("preprocess", "network") -> its complete configuration; None where nothing was gained

    Returns
    -------
    other systems whose settings, tuned for another machine, variant or configuration, are gone now
    """
    systems = repository.configured()
    lost = []
    for other in systems:
        models = [repository.model(other, step) for step in STEPS]
        if other != system:
            if not any(fault(model, variant, machine) for model in models):
                continue
            if any(_gain(model) for model in models):
                lost.append(other)
        for step, model in zip(STEPS, models, strict=True):
            shipped = shipped_file(model, variant)
            text = configurations[step] if configurations and other == system else None
            note = Note(machine, variant, date, None if text is None else gain, _digest(shipped))
            _write(local_file(model), note, shipped.read_text(encoding="utf-8") if text is None else text)
    written = [repository.model(name, step) for name in systems for step in STEPS]
    if not any(_gain(model) for model in written):
        for model in written:
            local_file(model).unlink()
    return lost


def _gain(model: Path) -> float | None:
    note = Note.read(local_file(model)) if local_file(model).is_file() else None
    return note.gain if note else None


def _write(path: Path, note: Note, text: str) -> None:
    """Write it whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(f"# {json.dumps(asdict(note))}\n{text}", encoding="utf-8")
    unfinished.replace(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
