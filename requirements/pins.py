"""Reads the pins of requirements files, as one Python version sees them."""

from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.10", "3.11", "3.12")
FOLDER = Path(__file__).parent


def read(file: Path, python: str) -> list[Requirement]:
    """Requirements of a file, and of those that it includes, that apply to a Python version.

    Raises
    ------
    ValueError
        If a line names no package at one version: another day would install something else.
    """
    found = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        text = line.partition("#")[0].partition("--hash=")[0].strip()
        if text.startswith("-r "):
            found += read(file.with_name(text[3:].strip()), python)
        elif text:
            requirement = parse(text, f"{file.name}, line {number}")
            if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
                found.append(requirement)
    return found


def parse(text: str, place: str) -> Requirement:
    """One line, which has to be ``name==version`` with extras and a marker at most."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise ValueError(f"{place}: {text!r} is no requirement.") from None
    specifiers = [(specifier.operator, "*" in specifier.version) for specifier in requirement.specifier]
    if specifiers != [("==", False)]:
        raise ValueError(f"{place}: {requirement.name} needs one version, as in {requirement.name}==1.0.")
    return requirement


def versions(file: Path, python: str) -> dict[str, str]:
    """Canonical name -> version of what `read` finds.

    Raises
    ------
    ValueError
        If the file and what it includes pin a package twice at different versions.
    """
    pins: dict[str, str] = {}
    for requirement in read(file, python):
        name, version = canonicalize_name(requirement.name), next(iter(requirement.specifier)).version
        if pins.setdefault(name, version) != version:
            raise ValueError(f"{file.name} pins {name} for Python {python} at {pins[name]} and at {version}.")
    return pins
