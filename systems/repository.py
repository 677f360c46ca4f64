"""The model repository: which systems are exported, and which of their files are whole and of the same weights.

Each file of a network is vouched for: model.onnx by the manifest, what was made of it ("fp16", "int8", "explain")
by an entry of the manifest, and a plan, which belongs to a kind of GPU, by a report of its own (plan.json,
plan.rtx.json). Who replaces a file
takes that away first and writes it anew at the end, so that an interruption leaves either the old state or a file
that nothing vouches for.

A `Repository` reads a file when it is first asked and keeps what it read. Standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from systems.files import atomically
from systems.label_set import LabelSet
from systems.manifest import NETWORK, Manifest
from systems.own import declared_system, own_system
from systems.system import System
from systems.variants import (
    FP16_FILE,
    INT8_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    ONNX_FILE,
    PLAN_FILE,
    REPORT_FILE,
    RTX_CACHE_FILE,
    RTX_PLAN_FILE,
    RTX_REPORT_FILE,
    Variant,
)

# Of every model: the folder of its files.
VERSION = "1"
TITLES = {
    **{"fp16": "FP16 network", "int8": "INT8 network", "explain": "explanation network"},
    **{"tensorrt": "TensorRT plan", "tensorrt_rtx": "TensorRT-RTX plan"},
}
# Named by their make command in the image, too: what it exports without being asked has neither.
BY_MAKE = ("int8", "explain")


def export_command(kind: str, system: str) -> str:
    """What the user types to make a network ("fp16", "tensorrt"); in the image one command makes everything."""
    return f"{os.environ.get('TRITONE_EXPORT_COMMAND', f'python -m export {kind}')} {system}"


def configuration(model: Path, name: str) -> Path:
    """Where the configuration of a model lies that --model-config-name chooses by this name."""
    return model / "configs" / f"{name}.pbtxt"


def read_manifest(repository: Path, system: str) -> Manifest:
    """The manifest of a network, for those who work with what it describes.

    Raises
    ------
    ValueError
        there is none, or it does not fit this server; the message is one sentence
    """
    network = Repository(repository).network(system)
    manifest = network.manifest
    if manifest is None or network.manifest_fault:
        raise ValueError(network.manifest_fault)
    return manifest


class Repository:
    """A folder of models, as Triton loads them.

    Parameters
    ----------
    path : the folder; it need not exist
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._networks: dict[str, Network] = {}

    def model(self, system: str, part: str) -> Path:
        """The folder of a system's model: "network", "preprocess", ..."""
        return self.path / f"{system}_{part}"

    def network(self, system: str) -> Network:
        """The network of a system, exported or not; always the same object."""
        return self._networks.setdefault(system, Network(self, system))

    def systems(self) -> list[str]:
        """The systems that are exported, by name."""
        return sorted(network.system for network in self._described() if network.is_exported)

    def configured(self) -> list[str]:
        """The systems whose networks have configurations, exported or not, by name."""
        return sorted(
            path.parent.name.removesuffix("_network") for path in self.path.glob("*_network/config.pbtxt")
        )

    def known(self, declared: Mapping[str, System]) -> dict[str, System]:
        """The declared systems, and the user's own ones, whose manifests say what they are like, by name."""
        found = dict(declared)
        for network in self._described():
            manifest = network.manifest
            if manifest is None or network.manifest_fault:
                continue
            if like := declared.get(str(manifest.content.get("like"))):
                found[network.system] = own_system(like, network.system, LabelSet.of_manifest(manifest.content))
            elif "declared" in manifest.content:
                found[network.system] = declared_system(manifest)
        return found

    def _described(self) -> Iterator[Network]:
        for path in sorted(self.path.glob(f"*_network/{VERSION}/{MANIFEST_FILE}")):
            yield self.network(path.parts[-3].removesuffix("_network"))


class Network:
    """The network of a system, and what was made of it.

    Attributes
    ----------
    model : its folder as a model of Triton
    folder : that of its files
    labels : names of the classes, a line each, which Triton reads
    onnx, fp16, int8, explain, plan, rtx_plan : the exported network, and what was made of it
    """

    def __init__(self, repository: Repository, system: str) -> None:
        self.repository = repository.path
        self.system = system
        self.model = repository.model(system, "network")
        self.folder = self.model / VERSION
        self.labels = self.model / LABELS_FILE
        self.onnx = Product(self, NETWORK, self.folder / ONNX_FILE)
        self.fp16 = Product(self, "fp16", self.folder / FP16_FILE)
        self.int8 = Product(self, "int8", self.folder / INT8_FILE)
        self.explain = Product(self, "explain", repository.model(system, "explain") / VERSION / ONNX_FILE)
        self.plan = Plan(self, "tensorrt", self.folder / PLAN_FILE, REPORT_FILE)
        self.rtx_plan = Plan(self, "tensorrt_rtx", self.folder / RTX_PLAN_FILE, RTX_REPORT_FILE)

    @cached_property
    def manifest(self) -> Manifest | None:
        """Its manifest; None where there is none."""
        return Manifest.read(self.folder)

    @property
    def is_exported(self) -> bool:
        """Whether it is there, and a manifest, which an export writes last."""
        return self.onnx.path.is_file() and (self.folder / MANIFEST_FILE).is_file()

    @cached_property
    def manifest_fault(self) -> str | None:
        """Why its manifest does not describe a network of this system, in one sentence; None if it does."""
        path = self.folder / MANIFEST_FILE
        if self.manifest is None:
            return f"{self.system} has no weights ({path} is missing): run make export"
        problem = self.manifest.problem(self.system)
        return problem and f"{path} does not fit this server: {problem}; run make export"

    @property
    def why_not(self) -> str | None:
        """Why it cannot be served, in one sentence; None if it can."""
        if self.manifest_fault or (self.onnx.is_current and self.labels.is_file()):
            return self.manifest_fault
        remedy = f"run make export SYSTEMS={self.system}"
        if self.onnx.is_current:
            return f"{self.system} has no {self.labels}, which Triton reads: {remedy}"
        return f"{self.onnx.path} is not the file that {MANIFEST_FILE} beside it describes: {remedy}"

    def product(self, variant: Variant) -> Product:
        """What a variant serves: the exported network, or what was made of it."""
        products = (self.fp16, self.int8, self.plan, self.rtx_plan)
        made = {product.path.name: product for product in products}.get(variant.file, self.onnx)
        config = configuration(self.model, variant.name)
        return made if not config.is_file() or variant.file in config.read_text(encoding="utf-8") else self.onnx

    def withdraw(self) -> None:
        """Take away the manifest, and then all that was made of a network which is replaced now."""
        (self.folder / MANIFEST_FILE).unlink(missing_ok=True)
        for plan in (self.plan, self.rtx_plan):
            plan.report.unlink(missing_ok=True)
            plan.path.unlink(missing_ok=True)
        for path in (self.int8.path, self.fp16.path, self.explain.path, self.folder / RTX_CACHE_FILE):
            path.unlink(missing_ok=True)


class Product:
    """A file that was made of a system's weights, for which an entry of the manifest vouches.

    Parameters
    ----------
    network : that it belongs to
    kind : the entry, and what `python -m export` calls it
    path : the file
    """

    def __init__(self, network: Network, kind: str, path: Path) -> None:
        self.network = network
        self.kind = kind
        self.path = path

    @property
    def description(self) -> dict[str, Any]:
        """What is said of it; empty where nothing vouches for it."""
        manifest = self.network.manifest
        return (manifest.content.get(self.kind) if manifest else None) or {}

    @property
    def is_current(self) -> bool:
        """Whether it is vouched for, whole, and of the present weights."""
        said, onnx = self.description, self.network.onnx
        try:
            is_whole = self.path.stat().st_size == said["bytes"]
            return is_whole and (self is onnx or said["made_from"]["sha256"] == onnx.description["sha256"])
        except (OSError, KeyError, TypeError):
            return False

    @property
    def why_not(self) -> str | None:
        """Why it cannot be used, in one sentence with what to do; None if it is current."""
        network, system = self.network, self.network.system
        if self.is_current:
            return None
        if self is network.onnx:
            return f"there is no exported network in {network.folder}; run make export"
        command = f"make {self.kind}" if self.kind in BY_MAKE else export_command(self.kind, system)
        lack = f"{system} has no {TITLES[self.kind]} of its present weights in {network.repository}"
        return f"{lack}: run {command}"

    def withdraw(self) -> None:
        """Take away what vouches for it, before it is replaced."""
        manifest = self._manifest()
        if manifest.content.pop(self.kind, None):
            manifest.write()

    def record(self, description: dict[str, Any]) -> None:
        """Say what it is, now that it is whole."""
        manifest = self._manifest()
        manifest.content[self.kind] = description
        manifest.write()

    def _manifest(self) -> Manifest:
        """The manifest of its network, which must be exported."""
        manifest = self.network.manifest
        assert manifest is not None, f"{self.network.folder} has no {MANIFEST_FILE}"
        return manifest


class Plan(Product):
    """A plan, for which a report beside it vouches.

    Parameters
    ----------
    report : name of that file
    """

    def __init__(self, network: Network, kind: str, path: Path, report: str) -> None:
        super().__init__(network, kind, path)
        self.report = path.with_name(report)

    @cached_property
    def description(self) -> dict[str, Any]:
        """What its report says; empty where that cannot be read."""
        try:
            return dict(json.loads(self.report.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def withdraw(self) -> None:
        """Take its report away."""
        self.report.unlink(missing_ok=True)

    def record(self, description: dict[str, Any]) -> None:
        """Write its report."""
        with atomically(self.report) as partial:
            partial.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
