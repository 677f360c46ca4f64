"""Settings tuned for this machine by `make tune`: checks whether they can be used, and stores them.

A tuned configuration is `configs/local.pbtxt` beside a model's `config.pbtxt`: a complete configuration whose
first line says what it was made for. Triton has one --model-config-name for all models and uses `config.pbtxt` for
a model without such a file, which for a network means ONNX Runtime. Therefore, once one system is tuned, the steps
of all systems get a local.pbtxt, if necessary a copy of the shipped one, and those of the served systems are used
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
STEPS = ("preprocess", "network")  # the steps of a system that are tuned


@dataclass(frozen=True)
class Note:
    """The first line of a tuned configuration.

    Attributes
    ----------
    machine : `this_machine` of the machine that it was measured on
    variant : variant whose configuration was tuned
    date : day of the measurement, "2026-11-21"
    gain : throughput of its system relative to the shipped configuration; None for a copy of that
    shipped : SHA-256 of the shipped configuration that it was made from
    """

    machine: str
    variant: str
    date: str
    gain: float | None
    shipped: str

    @classmethod
    def read(cls, path: Path) -> Note | None:
        """Return the note of a file; None without one, for example in a file written by hand."""
        try:
            with path.open(encoding="utf-8") as file:
                return cls(**json.loads(file.readline().removeprefix("#")))
        except (ValueError, TypeError):
            return None


def this_machine() -> str:
    """Return processor and usable cores; tuned settings are valid where these are the same."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    name = fields.get("model name", platform.machine())
    # Some virtual machines report the same name for every processor of a vendor.
    kind = [f"{key.split()[-1]} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    return ", ".join([name, *kind, f"{len(os.sched_getaffinity(0))} cores"])


def shipped_file(model: Path, variant: str) -> Path:
    """Return the configuration that Triton uses for a variant without tuning.

    Parameters
    ----------
    model : folder of a model in the repository
    """
    special = configuration(model, variant)
    return special if special.is_file() else model / "config.pbtxt"


def local_file(model: Path) -> Path:
    """Return the path of the tuned configuration of a model."""
    return configuration(model, NAME)


def rejection(model: Path, variant: str, machine: str) -> str | None:
    """Return why the tuned configuration of a model cannot be used, as a clause; None if it can."""
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


def usable(repository: Repository, systems: list[str], variant: str, machine: str) -> tuple[bool, str]:
    """Decide whether to serve the tuned configurations of some systems.

    Parameters
    ----------
    repository : the model repository
    systems : systems to serve
    variant : variant of their networks
    machine : `this_machine`

    Returns
    -------
    usable : whether to serve them
    message : the gains, or why the configurations are ignored; empty if none was tuned
    """
    models = [repository.model(system, step) for system in systems for step in STEPS]
    notes = {model: Note.read(local_file(model)) for model in models if local_file(model).is_file()}
    if all(note is not None and note.gain is None for note in notes.values()):
        return False, ""
    for model in models:
        if why := rejection(model, variant, machine):
            return False, f"configs/{NAME}.pbtxt is ignored: {why}; make tune writes new ones"
    parts = []
    for system in systems:
        note = notes[repository.model(system, "network")]
        gained = "as shipped"
        if note and note.gain:
            gained = f"as tuned on {note.date}: {note.gain:.2f} times the shipped throughput"
        parts.append(f"{system} {gained}")
    return True, ", ".join(parts)


def store(
    repository: Repository,
    system: str,
    variant: str,
    machine: str,
    date: str,
    gain: float | None = None,
    configurations: Mapping[str, str] | None = None,
) -> list[str]:
    """Write or remove the tuned configurations of a system, and make those of the other systems consistent.

    Parameters
    ----------
    repository : the model repository
    system : the tuned system
    variant, machine, date, gain : as in `Note`; gain is None if the shipped configuration is kept
    configurations : step ("preprocess", "network") -> complete configuration; None if the shipped one is kept

    Returns
    -------
    other systems whose settings were removed, because they were for another machine, variant or configuration
    """
    systems = repository.configured()
    lost = []
    for other in systems:
        models = [repository.model(other, step) for step in STEPS]
        if other != system:
            if not any(rejection(model, variant, machine) for model in models):
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
    """Write the note and the configuration, atomically."""
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(f"# {json.dumps(asdict(note))}\n{text}", encoding="utf-8")
    unfinished.replace(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
