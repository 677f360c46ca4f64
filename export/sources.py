"""Sources of a system's weights: a directory, a file, the hub, an installed package, or the demo weights."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from export import hub
from export.errors import ExportError
from export.files import exclusive, load, sha256
from systems import System
from systems.files import atomically
from systems.label_set import LabelError, LabelSet, read_labels
from systems.system import Checkpoint, Package

# Increase it with every change of sounds, profiles or fit that should replace the demo weights in use.
DEMO_VERSION = "1"
Log = Callable[[str], object]

SUFFIXES = ("pt", "pth", "safetensors")


@dataclass(frozen=True)
class Weights:
    """A checkpoint on this machine.

    Attributes
    ----------
    path : the file
    labels : its classes, in the order of the outputs
    source : the entry `source` of a manifest
    held_out : demo weights only: how well they recognise held-out generated sounds
    """

    path: Path
    labels: LabelSet
    source: dict[str, Any]
    held_out: dict[str, object] | None = None


class Source(Protocol):
    """A source of weights."""

    def get(self, system: System, log: Log) -> Weights:
        """Return the system's checkpoint; fetch it to this machine if necessary."""


@dataclass(frozen=True)
class Directory:
    """Files DIR/<system>/{save,model}.{pt,pth,safetensors} or DIR/<system>.{pt,pth,safetensors}.

    DIR/<system>/labels.json replaces the system's labels.
    """

    folder: Path

    def get(self, system: System, log: Log) -> Weights:
        """Find the checkpoint; an ExportError lists the names that it may have."""
        file = self.find(system)
        if file is None:
            looked = ", ".join(self._names(system))
            raise ExportError(f"no weights for {system.name} in {self.folder}; looked for {looked}")
        own = self.folder / system.name / "labels.json"
        try:
            labels = read_labels(own) if own.is_file() else system.labels
        except LabelError as error:
            raise ExportError(str(error)) from error
        return _weights("directory", self.folder.resolve().name, file, None, self.folder / file, labels)

    def find(self, system: System) -> str | None:
        """Return the system's file in the folder; None without one."""
        return next((name for name in self._names(system) if (self.folder / name).is_file()), None)

    def _names(self, system: System) -> list[str]:
        stems = f"{system.name}/save", f"{system.name}/model", system.name
        return [f"{stem}.{suffix}" for stem in stems for suffix in SUFFIXES]


@dataclass(frozen=True)
class File:
    """One checkpoint: a file, or a folder with {save,model}.{pt,pth,safetensors} and optionally labels.json."""

    path: Path

    def get(self, system: System, log: Log) -> Weights:
        """Find the checkpoint; its classes are the system's."""
        names = [f"{stem}.{suffix}" for stem in ("save", "model") for suffix in SUFFIXES]
        files = [self.path / name for name in names] if self.path.is_dir() else [self.path]
        file = next(filter(Path.is_file, files), None)
        if file is None:
            looked = f"; looked for {', '.join(names)}" if self.path.is_dir() else ""
            raise ExportError(f"there is no checkpoint {self.path}{looked}")
        return _weights("file", file.resolve().parent.name, file.name, None, file, system.labels)


@dataclass(frozen=True)
class Hub:
    """Weights from a repository of the hub, at a pinned commit."""

    repository: str
    revision: str

    def get(self, system: System, log: Log) -> Weights:
        """Download the checkpoint, or take it from the hub's cache."""
        released = system.released
        assert isinstance(released, Checkpoint), f"{system.name} is not released on the hub"
        log(f"fetching {self.repository}/{released.file} at {self.revision[:8]}")
        path = hub.download(self.repository, released.file, self.revision)
        return _weights("hub", self.repository, released.file, self.revision, path, system.labels)


@dataclass(frozen=True)
class Installed:
    """Weights in the data files of a package (`systems.system.Package`), stored as safetensors in `folder`."""

    folder: Path

    def get(self, system: System, log: Log) -> Weights:
        """Convert the checkpoint, unless that has been done; an ExportError names a missing package."""
        package = system.released
        assert isinstance(package, Package), f"{system.name} is not released in a package"
        try:
            distribution = importlib.metadata.distribution(package.name)
        except importlib.metadata.PackageNotFoundError:
            raise ExportError(
                f"the weights of {system.name} are in the package {package.name}, which is not installed:"
                f" pip install --no-deps {package.name}=={package.version}"
            ) from None
        if distribution.version != package.version:
            raise ExportError(
                f"the weights of {system.name} are in {package.name} {package.version}, installed is"
                f" {distribution.version}: pip install --no-deps {package.name}=={package.version}"
            )
        path, origin = self.folder / system.name / "save.safetensors", f"{package.name} {package.version}"
        with exclusive(path.parent):
            if _metadata(path).get("origin") != origin:
                log(f"reading its weights from {origin}")
                state = load(package.reader)(Path(str(distribution.locate_file(package.folder))))
                with atomically(path) as partial:
                    save_file(state, partial, {"origin": origin})
        weights = _weights("package", origin, package.folder, package.version, path, system.labels)
        weights.source.update(licence=package.licence, citation=package.citation)
        return weights


@dataclass(frozen=True)
class Demo:
    """Demo weights, made on this machine and stored in `folder`."""

    folder: Path

    def get(self, system: System, log: Log) -> Weights:
        """Return the demo weights; make them if they are missing or outdated."""
        path = self.folder / system.name / "save.safetensors"
        with exclusive(path.parent):
            if _metadata(path).get("demo_version") != DEMO_VERSION:
                from export import demo  # imports PyTorch, which takes seconds

                log(f"making demo weights in {path.parent} (only once)")
                demo.make(system, path, DEMO_VERSION, log)
        held_out = json.loads(_metadata(path)["held_out"])
        file = f"{system.name}/{path.name}"
        return _weights("demo", "generated", file, None, path, system.labels, held_out)


def _metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; empty if there is no such file or it is damaged."""
    try:
        with safe_open(path, "np") as file:
            return file.metadata() or {}
    except (FileNotFoundError, SafetensorError):
        return {}


def _weights(
    origin: str,
    location: str,
    file: str,
    revision: str | None,
    path: Path,
    labels: LabelSet,
    held_out: dict[str, object] | None = None,
) -> Weights:
    source = {"origin": origin, "location": location, "file": file, "revision": revision, "sha256": sha256(path)}
    return Weights(path, labels, source, held_out)
