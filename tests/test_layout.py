"""The folders' imports go one way, and no modules import each other in a circle; read from their source."""

import ast
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.project import ROOT

MAY_IMPORT = {
    "requirements": set(),
    "tritone_client": set(),
    "systems": set(),
    "preprocess": {"systems"},
    "answers": {"preprocess", "systems"},
    "model_repository": {"answers"},
    "server": {"systems"},
    "sounds": {"preprocess", "systems"},
    "export": {"answers", "preprocess", "server", "sounds", "systems"},
    "demo": {"server", "sounds", "systems"},
    "bench": {"answers", "export", "preprocess", "requirements", "server", "sounds", "systems", "tritone_client"},
    "tuning": {"bench", "server", "sounds", "systems"},
}
"""Folder -> those of the others that it may import; the tests import them all."""

OURS = {*MAY_IMPORT, "tests"}

Sources = dict[str, tuple[Path, ast.Module]]
"""Module as others import it -> its file and what it says."""


def module_name(file: Path) -> str:
    """A file's module: `a/b.py` is a.b, `a/__init__.py` is a; the client's begin with tritone_client."""
    parts = file.with_suffix("").parts
    parts = parts[1:] if parts[0] == "client" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read(root: Path, files: Iterable[Path]) -> Sources:
    return {module_name(file): (file, ast.parse((root / file).read_text())) for file in files}


def ours() -> Sources:
    """All modules of the project but the tests, as git has them or would add them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    files = (Path(name) for name in listed)
    return read(ROOT, (file for file in files if file.parts[0] != "tests" and (ROOT / file).exists()))


def imported(name: str, file: Path, tree: ast.AST, modules: set[str]) -> Iterator[str]:
    """Ours that the source imports, wherever it does: modules, and the packages whose names it takes.

    Backends lie beside each other in Triton and import each other by their bare names.
    """
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            taken = [f"{base}.{alias.name}" for alias in node.names]
            found = [target if target in modules else base for target in taken]
        else:
            continue
        for target in found:
            beside = f"server.backends.{target}"
            if file.parts[:2] == ("server", "backends") and beside in modules:
                yield beside
            elif target.partition(".")[0] in OURS:
                yield target


def graph(sources: Sources) -> dict[str, set[str]]:
    """Module -> those that it imports."""
    modules = set(sources)
    return {name: set(imported(name, file, tree, modules)) for name, (file, tree) in sources.items()}


def forbidden(sources: Sources) -> list[str]:
    """Imports that MAY_IMPORT does not allow."""
    found = []
    for name, targets in graph(sources).items():
        top = name.partition(".")[0]
        assert top in MAY_IMPORT, f"{top} is new: say in MAY_IMPORT what it may import"
        for target in targets:
            if target.partition(".")[0] not in MAY_IMPORT[top] | {top}:
                found.append(f"{name} imports {target}")
    return sorted(found)


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other."""
    reached = {name: set(targets) & arrows.keys() for name, targets in arrows.items()}
    for middle in arrows:  # Warshall
        for name in arrows:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in arrows if a in reached[a]}
    return sorted(sorted(group) for group in groups)


def test_folders_import_only_what_lies_below_them():
    assert forbidden(ours()) == []


def test_no_folder_is_allowed_a_way_back():
    assert circles(MAY_IMPORT) == []


def test_no_module_imports_itself_by_way_of_others():
    arrows = {name: targets for name, targets in graph(ours()).items() if not name.startswith("tritone_client")}
    assert len(arrows) > 150
    assert circles(arrows) == []


def sources(**texts: str) -> Sources:
    """Made-up modules, a double underscore for each dot."""
    files = {name.replace("__", "."): text for name, text in texts.items()}
    return {name: (Path(*name.split(".")).with_suffix(".py"), ast.parse(text)) for name, text in files.items()}


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("import bench", "bench"),
        ("from bench.perf import measure", "bench.perf"),
        ("from export import demo", "export.demo"),
        ("def late():\n    from tests.support import tiny", "tests.support"),
        ("if True:\n    import sounds as noise", "sounds"),
    ],
)
def test_an_import_upwards_is_found_wherever_it_stands(text, target):
    made = sources(server__new=text, bench__perf="", export__demo="", sounds__generate="import numpy, systems")
    assert forbidden(made) == [f"server.new imports {target}"]


def test_a_folder_that_nothing_is_said_of_is_refused():
    with pytest.raises(AssertionError, match="other is new: say in MAY_IMPORT"):
        forbidden(sources(other__module=""))


@pytest.mark.parametrize(
    "back", ["from server import a", "from . import a", "from .a import x", "import server.a"]
)
def test_a_circle_is_found(back):
    made = sources(server__a="import server.b", server__b=f"def late():\n    {back}", server__c="import server.a")
    assert circles(graph(made)) == [["server.a", "server.b"]]
    backends = sources(server__backends__rows="import turns", server__backends__turns="from rows import R")
    assert circles(graph(backends)) == [["server.backends.rows", "server.backends.turns"]]
