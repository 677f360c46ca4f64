"""Reads the pins of requirements files for one Python version."""

from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.10", "3.11", "3.12")
FOLDER = Path(__file__).parent


def read(file: Path, python: str) -> list[Requirement]:
    """Return the requirements of a file, and of the files it includes, that apply to a Python version.

    Raises
    ------
    ValueError
        If a line does not pin a package to one version.
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
    """Parse one line, which must be ``name==version``, optionally with extras and a marker."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise ValueError(f"{place}: {text!r} is not a requirement.") from None
    specifiers = [(specifier.operator, "*" in specifier.version) for specifier in requirement.specifier]
    if specifiers != [("==", False)]:
        raise ValueError(f"{place}: {requirement.name} needs one version, as in {requirement.name}==1.0.")
    return requirement


def versions(file: Path, python: str) -> dict[str, str]:
    """Return canonical name -> version of the requirements that `read` returns.

    Raises
    ------
    ValueError
        If the file and the files it includes pin a package to different versions.
    """
    pins: dict[str, str] = {}
    for requirement in read(file, python):
        name, version = canonicalize_name(requirement.name), next(iter(requirement.specifier)).version
        if pins.setdefault(name, version) != version:
            raise ValueError(f"{file.name} pins {name} for Python {python} at {pins[name]} and at {version}.")
    return pins
