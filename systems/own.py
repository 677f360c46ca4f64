"""Users' own systems: like a declared one except for name and weights, or declared in a file of the user's.

They are in the model repository beside the declared ones, and their manifests describe them. Only the exporter
reads a user's declaration, never the server.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from systems.label_set import LabelSet
from systems.manifest import Manifest
from systems.system import Architecture, System

# The models of a system are named `<system>_<part>`; clients call the model `<system>`.
PARTS = ("chain", "explain", "network", "postprocess", "preprocess", "raw")
# The commands of `python -m export`: words that may precede the names of systems.
COMMANDS = ("onnx", "fp16", "int8", "explain", "tensorrt", "tensorrt_rtx")
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class UnusableName(ValueError):
    """A system cannot have this name; the message says why and which names are allowed."""


def check_name(name: str, declared: dict[str, System]) -> None:
    """Check the name of a new system.

    Raises
    ------
    UnusableName
        the name is not valid for a file or a Triton model, or it is taken
    """
    if not NAME.fullmatch(name):
        raise UnusableName(
            f"{name!r} cannot be the name of a system: use up to 64 characters of a-z, 0-9 and _, a letter first"
        )
    if name in declared:
        raise UnusableName(f"{name} is the name of a system that comes with Tritone: choose another --name")
    if name in COMMANDS:
        raise UnusableName(f"{name} cannot be the name of a system: python -m export {name} is a command")
    for part in PARTS:
        if name.endswith(f"_{part}"):
            raise UnusableName(
                f"{name} cannot be the name of a system: names that end in _{part} belong to the parts of a system"
            )


def own_system(system: System, name: str, labels: LabelSet) -> System:
    """Return a system like a declared one, with another name and other classes."""
    return replace(system, name=name, labels=labels, like=system.name, released=None, by_default=True)


class UnusableDeclaration(ValueError):
    """A file does not declare a system; the message says why."""


def read_declaration(path: Path) -> System:
    """Run a Python file that declares a system as SYSTEM; it can import modules beside it.

    Raises
    ------
    UnusableDeclaration
        the file is missing, fails, or does not declare a system
    """
    sys.path.append(str(path.resolve().parent))
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UnusableDeclaration(f"there is no file {path}")
    module = module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # so that "<stem>:Class" in the declaration is importable
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UnusableDeclaration(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    system = getattr(module, "SYSTEM", None)
    if not isinstance(system, System):
        raise UnusableDeclaration(f"{path} declares no system: it needs SYSTEM = System(...)")
    return replace(system, declared_in=path.name)


def declaration(system: System) -> dict[str, Any]:
    """Return the manifest's entry that describes a user's system; empty for systems of this project."""
    if not system.declared_in:
        return {}
    return {
        "declared": {
            "file": system.declared_in,
            "about": system.about,
            "task": system.task.name,
            "title": system.architecture.title,
            "profile": system.profile.to_json(),
        }
    }


def declared_system(manifest: Manifest) -> System:
    """Return the system that `declaration` described; its network can be used but not rebuilt."""
    content, declared = manifest.content, manifest.content["declared"]
    return System(
        name=content["system"],
        about=declared["about"],
        task=manifest.task,
        architecture=Architecture(content["architecture"], declared["title"], module="", key=""),
        spectrum=content["spectrum"],
        profile=manifest.profile,
        labels=LabelSet.of_manifest(content),
        activation=content.get("activation", "softmax"),
        embedding=content["output"].get("embedding"),
        declared_in=declared["file"],
    )
