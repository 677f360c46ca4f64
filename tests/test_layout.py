"""The folders' imports go one way, and no modules import each other in a circle; read from their source."""

import ast
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
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

BASE = ("answer", "defaults", "errors", "files", "flow", "plain", "systems", "version")
"""Modules of the client that everything else in it may import."""
PUBLIC = ("aio", "calls", "client", "html", "inflight", "stream")
"""Modules of the client's public face, which `tritone_client` itself imports late."""
CLIENT_MAY_IMPORT = {
    "base": set(),
    "transport": {"base"},
    "display": {"base"},
    "answers": {"base", "display"},
    "public": {"answers", "base", "display", "transport"},
    "bulk": {"base", "transport"},
    "evaluation": {"base", "display", "public", "transport"},
    "monitoring": {"answers", "base", "display", "public", "transport"},
    "web": {"base", "display", "public"},
    "cli": {"answers", "base", "bulk", "display", "evaluation", "monitoring", "public", "transport", "web"},
}
"""Room of the client -> those of the others that it may import."""

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


@cache
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


def room(module: str) -> str:
    """The room of a module of the client: its folder, "base" or "public"."""
    part = module.split(".")[1]
    return "base" if part in BASE else "public" if part in PUBLIC else part


def forbidden_in_client(sources: Sources) -> list[str]:
    """Imports that CLIENT_MAY_IMPORT does not allow; the package itself may import all that it names."""
    found = []
    for name, targets in graph(sources).items():
        if not name.startswith("tritone_client."):
            continue
        assert room(name) in CLIENT_MAY_IMPORT, f"{name} is new: give it a room in BASE, PUBLIC or a folder"
        for target in targets:
            if target == "tritone_client" or room(target) not in CLIENT_MAY_IMPORT[room(name)] | {room(name)}:
                found.append(f"{name} imports {target}")
    return sorted(found)


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other."""
    reached: dict[str, set[str]] = {}
    for name in arrows:
        reached[name], ahead = set(), list(arrows[name])
        while ahead:
            if (target := ahead.pop()) in arrows and target not in reached[name]:
                reached[name].add(target)
                ahead += arrows[target]
    groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in arrows if a in reached[a]}
    return sorted(sorted(group) for group in groups)


def test_folders_import_only_what_lies_below_them():
    assert forbidden(ours()) == []


def test_no_folder_is_allowed_a_way_back():
    assert circles(MAY_IMPORT) == []
    assert circles(CLIENT_MAY_IMPORT) == []


def test_rooms_of_the_client_import_only_what_lies_below_them():
    assert forbidden_in_client(ours()) == []
    files = [file for file, _ in ours().values() if file.parts[:1] == ("client",)]
    assert len(files) > 60 and max(len((ROOT / file).read_text().splitlines()) for file in files) <= 350


@pytest.mark.parametrize(
    ("name", "text", "target"),
    [
        ("tritone_client.transport.new", "from tritone_client.client import Client", "tritone_client.client"),
        ("tritone_client.bulk.new", "from tritone_client import Client", "tritone_client"),
        (
            "tritone_client.errors",
            "import tritone_client.flow, tritone_client.web.page",
            "tritone_client.web.page",
        ),
    ],
)
def test_an_import_upwards_in_the_client_is_found(name, text, target):
    made = sources(**{name: text, "tritone_client.client": "", "tritone_client.flow": ""})
    made |= sources(**{"tritone_client.web.page": "", "tritone_client": ""})
    assert forbidden_in_client(made) == [f"{name} imports {target}"]


def test_no_module_imports_itself_by_way_of_others():
    arrows = graph(ours())
    assert len(arrows) > 200
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
    backends = sources(server__backends__rows="import scheduler", server__backends__scheduler="from rows import R")
    assert circles(graph(backends)) == [["server.backends.rows", "server.backends.scheduler"]]
