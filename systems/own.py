"""Systems of the user's own: like a declared one but for their name, their weights and their classes.

They lie in a model repository beside the declared ones, and their manifests say what they are.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from systems.label_set import LabelSet
from systems.manifest import FILE, Manifest
from systems.system import System

PARTS = ("chain", "explain", "network", "postprocess", "preprocess", "raw")
"""A system's models are called `<system>_<part>`, and the one that clients call `<system>`."""
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
    for part in PARTS:
        if name.endswith(f"_{part}"):
            raise UnusableName(
                f"{name} cannot be the name of a system: names in _{part} are those of a system's parts"
            )


def own_system(system: System, name: str, labels: LabelSet) -> System:
    """A system like a declared one, with another name and other classes."""
    return replace(system, name=name, labels=labels, like=system.name, released=None, by_default=True)


def known_systems(repository: Path, declared: dict[str, System]) -> dict[str, System]:
    """The declared systems, and the own ones of a repository, by name."""
    found = dict(declared)
    for path in sorted(repository.glob(f"*_network/1/{FILE}")):
        name, manifest = path.parts[-3].removesuffix("_network"), Manifest.find(path.parent)
        like = declared.get(str(manifest.content.get("like"))) if manifest else None
        if manifest and like and not manifest.problem(name):
            found[name] = own_system(like, name, LabelSet.of_manifest(manifest.content))
    return found
