"""What is installed: pinned for every Python version, and with hashes where an image is made of it."""

import re
import subprocess
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from requirements import audit, lock, pins
from requirements.pins import FOLDER, PYTHONS

CONSTRAINTS = FOLDER / "constraints.txt"
FILES = sorted(file.name for file in FOLDER.glob("*.txt"))
INSTALLS = [  # what the Makefile and the Dockerfile give pip together
    ["serve.txt", "client.txt"],
    ["serve.txt", "web.txt"],
    ["onnx.txt"],
    ["export.txt"],
    ["export.txt", "plan.txt"],
    ["lint.txt"],
    ["test.txt"],
]
HASHED = re.compile(r"([\w.-]+)==\S+ --hash=sha256:[0-9a-f]{64}")


def closure(requirements: list[Requirement], python: str) -> set[str]:
    """Names of packages and of all that they bring along on a Python version, as far as it is installed here."""
    seen: set[tuple[str, str]] = set()
    waiting = [(r.name, extra) for r in requirements for extra in ("", *r.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (canonicalize_name(name), extra) in seen:
            continue
        seen.add((canonicalize_name(name), extra))
        try:
            needs = map(Requirement, metadata.requires(name) or [])
        except metadata.PackageNotFoundError:  # of another Python version, or for a GPU
            continue
        place = {"python_version": python, "python_full_version": f"{python}.0", "extra": extra}
        applying = [need for need in needs if need.marker is None or need.marker.evaluate(place)]
        waiting += [(need.name, of) for need in applying for of in ("", *need.extras)]
    return {name for name, _ in seen}


def direct(files: list[str], python: str) -> list[Requirement]:
    return [requirement for file in files for requirement in pins.read(FOLDER / file, python)]


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("files", INSTALLS, ids=" ".join)
def test_all_that_is_brought_along_is_pinned(files, python):
    wanted = direct(files, python)
    loose = closure(wanted, python) - names(wanted) - pins.versions(CONSTRAINTS, python).keys()
    assert not loose


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_agree_with_what_is_pinned_directly(python):
    assert {"numpy", "fastapi", "grpcio"} <= pins.versions(CONSTRAINTS, python).keys()
    for file in FILES:
        constrained = pins.versions(CONSTRAINTS, python)
        different = {
            (name, version, constrained[name])
            for name, version in pins.versions(FOLDER / file, python).items()
            if constrained.get(name, version) != version
        }
        assert not different, file


@pytest.mark.parametrize("file", lock.LOCKS)
def test_a_lock_has_exactly_what_the_image_installs_each_with_its_hash(file):
    python = lock.IMAGE_PYTHON
    lines = [line for line in (FOLDER / file).read_text().splitlines() if not line.startswith("#")]
    assert all(HASHED.fullmatch(line) for line in lines)
    locked = pins.versions(FOLDER / file, python)
    assert len(locked) == len(lines)
    wanted = direct(lock.LOCKS[file], python)
    assert locked.keys() == closure(wanted, python) - {"torch"}
    pinned = pins.versions(CONSTRAINTS, python)
    for source in lock.LOCKS[file]:
        pinned |= pins.versions(FOLDER / source, python)
    assert locked == {name: pinned[name] for name in locked}


def test_only_the_conflicts_of_packages_without_their_requirements_are_hidden():
    makefile = (FOLDER.parent / "Makefile").read_text()
    [hidden] = re.findall(r"^conflicts = .*\^\(([\w|-]+)\) ", makefile, flags=re.M)
    assert hidden.split("|") == [
        name for f in ("triton.txt", "weights.txt") for name in names(direct([f], "3.11"))
    ]
    line = next(line for line in makefile.splitlines() if line.startswith("conflicts = "))
    shell = line.removeprefix("conflicts = ").replace("$(PIP) check", "printf '%s\\n' \"$@\"")
    given = ["musicnn 0.1.0 requires tensorflow, which is not installed.", "scipy 1 has requirement numpy<1, but"]
    shown = subprocess.run(["sh", "-ec", shell, "sh", *given], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == given[1:]
    subprocess.run(["sh", "-ec", shell, "sh", "No broken requirements found."], check=True)


def test_no_file_names_a_registry():
    for file in (*FOLDER.glob("*.txt"), *FOLDER.glob("*.lock")):
        assert not re.search(r"://|-index-url|find-links", file.read_text()), file.name


def test_a_requirement_that_is_no_pin_is_named(tmp_path):
    for line in ("numpy", "numpy>=1", "numpy==1.*", "numpy==1,<2"):
        (tmp_path / "some.txt").write_text(f"scipy==1.0  # fixed\n{line}\n")
        with pytest.raises(ValueError, match=r"^some.txt, line 2: numpy needs one version"):
            pins.read(tmp_path / "some.txt", "3.11")
    (tmp_path / "some.txt").write_text("./folder\n")
    with pytest.raises(ValueError, match="is not a requirement"):
        pins.read(tmp_path / "some.txt", "3.11")
    (tmp_path / "some.txt").write_text("-r other.txt\nA.b==1\n")
    (tmp_path / "other.txt").write_text('a-b==2 ; python_version < "3.11"\n')
    assert pins.versions(tmp_path / "some.txt", "3.11") == {"a-b": "1"}
    with pytest.raises(ValueError, match="pins a-b for Python 3.10 at 2 and at 1"):
        pins.versions(tmp_path / "some.txt", "3.10")


def package(version: str) -> dict:
    return {"metadata": {"name": "Some_thing", "version": version}}


@pytest.mark.parametrize(
    ("versions", "lines"),
    [
        ({"3.10": "1", "3.11": "1", "3.12": "1"}, ["Some_thing==1"]),
        ({"3.10": "1"}, ["Some_thing==1"]),
        (
            {"3.10": "1", "3.11": "2", "3.12": "2"},
            ['Some_thing==1 ; python_version < "3.11"', 'Some_thing==2 ; python_version >= "3.11"'],
        ),
        (
            {"3.10": "1", "3.11": "2", "3.12": "3"},
            [
                'Some_thing==1 ; python_version < "3.11"',
                'Some_thing==2 ; python_version >= "3.11" and python_version < "3.12"',
                'Some_thing==3 ; python_version >= "3.12"',
            ],
        ),
    ],
)
def test_versions_that_differ_get_markers(versions, lines):
    resolved = {python: {"some-thing": package(version)} for python, version in versions.items()}
    assert lock.constraints(resolved) == lines


def test_a_python_that_is_missing_is_named():
    with pytest.raises(lock.CannotResolve, match=r"^python3\.99 is not on PATH; 3.10, 3.11, 3.12 are all needed"):
        lock.resolve("3.99", ["numpy"])


PIP_AUDIT = """
import sys
file = sys.argv[sys.argv.index("--requirement") + 1]
assert open(file).read() == "numpy==1.0\\nscipy==1.0\\n"
{what}
"""
FINE = {"name": "scipy", "version": "1.0", "vulns": []}
SKIPPED = {"name": "numpy", "skip_reason": "Dependency not found on PyPI and could not be audited: numpy (1.0)"}
KNOWN = {"name": "numpy", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}


def auditing(monkeypatch, tmp_path, what: str) -> None:
    """Have a module that answers as pip-audit does, and nothing outdated."""
    (tmp_path / "pip_audit.py").write_text(PIP_AUDIT.format(what=what))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(audit, "batches", lambda: [{"numpy": "1.0", "scipy": "1.0"}])


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        (f"import json; print(json.dumps({{'dependencies': {[KNOWN, FINE]}}}))", 1, "CVE-1, fixed in 1.1"),
        (f"import json; print(json.dumps({{'dependencies': {[FINE]}}}))", 0, "No pin has a known vulnerability."),
        (
            f"import json; print(json.dumps({{'dependencies': {[SKIPPED, FINE]}}}))",
            1,
            "The vulnerability service does not answer for 1 of 2 pins (numpy).",
        ),
        ("sys.exit('ConnectionError: refused')", 1, "cannot be reached: ConnectionError: refused"),
    ],
)
def test_an_audit_without_an_answer_is_no_good_news(monkeypatch, tmp_path, capsys, what, code, said):
    auditing(monkeypatch, tmp_path, what)
    (tmp_path / "none").mkdir()
    assert audit.main(str(tmp_path / "none")) == code
    out, err = capsys.readouterr()
    assert said in out + err and "Traceback" not in out + err
    assert ("No pin has" in out) == (code == 0)
    assert "All installed packages are up to date." in out


def test_every_pin_is_audited_once_for_all_python_versions():
    asked = [(name, version) for part in audit.batches() for name, version in part.items()]
    assert len(asked) == len(set(asked))
    for file in FILES:
        for python in PYTHONS:
            assert pins.versions(FOLDER / file, python).items() <= set(asked)
