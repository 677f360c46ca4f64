"""Systems of the user's own: like a declared one but for name and weights, or declared in a file of the user's.

They lie in a model repository beside the declared ones, and their manifests say what they are: that file is read
when they are exported, and never by the server.
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

# A system's models are called `<system>_<part>`, and the one that clients call `<system>`.
PARTS = ("chain", "explain", "network", "postprocess", "preprocess", "raw")
# What `python -m export` makes, each a word that may stand before the names of systems.
COMMANDS = ("onnx", "fp16", "int8", "explain", "tensorrt", "tensorrt_rtx")
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class UnusableName(ValueError):
    """A system cannot have this name; the message says why, and which names can be had."""


def check_name(name: str, declared: dict[str, System]) -> None:
    """Refuse what is no name for a file, for a model of Triton, or is taken.

    Raises
    ------
    UnusableName
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
    """A system like a declared one, with another name and other classes."""
    return replace(system, name=name, labels=labels, like=system.name, released=None, by_default=True)


class UnusableDeclaration(ValueError):
    """A file declares no system; the message says why."""


def read_declaration(path: Path) -> System:
    """Run a Python file that declares a system as SYSTEM; modules beside it can be imported.

    Raises
    ------
    UnusableDeclaration
    """
    sys.path.append(str(path.resolve().parent))
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UnusableDeclaration(f"there is no file {path}")
    module = module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # so that "<stem>:Class" of the declaration finds it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UnusableDeclaration(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    system = getattr(module, "SYSTEM", None)
    if not isinstance(system, System):
        raise UnusableDeclaration(f"{path} declares no system: it needs SYSTEM = System(...)")
    return replace(system, declared_in=path.name)


def declaration(system: System) -> dict[str, Any]:
    """What the manifest of a system says of it beside its weights, where no file of this project does."""
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
    """The system that `declaration` has described; its network can no longer be built, only used."""
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
