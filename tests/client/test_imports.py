"""The names that users import: those that the package exports, and those that the documentation shows."""

import ast
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import tritone_client

from tests.client.bulk_answers import prediction
from tests.support.project import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(tritone_client(?:\.\w+)+)")


def exported_for_type_checkers() -> set[str]:
    """Names that `__init__.py` imports where `TYPE_CHECKING` is true."""
    tree = ast.parse(Path(tritone_client.__file__).read_text(encoding="utf-8"))
    block = next(
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def documented(page: Path) -> set[tuple[str, str]]:
    """Module and name of each import of ours in the page's Python, and of each full name in its text."""
    text = page.read_text(encoding="utf-8")
    imports = [
        (node.module or "", alias.name)
        for block in BLOCK.findall(text)
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "tritone_client"
        for alias in node.names
    ]
    return {*imports, *(tuple(name.rsplit(".", 1)) for name in INLINE.findall(text))}


def test_all_is_what_type_checkers_see():
    assert set(tritone_client.__all__) == exported_for_type_checkers()
    assert tritone_client.__all__ == sorted(tritone_client.__all__) == dir(tritone_client)


@pytest.mark.parametrize("name", tritone_client.__all__)
def test_every_exported_name_can_be_imported(name: str):
    assert getattr(tritone_client, name).__name__ in (name, {"Computed": "Runtime"}.get(name))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documented_imports(page: Path):
    for module, name in documented(page):
        assert hasattr(import_module(module), name), f"from {module} import {name}"


def test_the_pages_show_imports():
    """Or the test above would pass whatever the pages show."""
    found = set().union(*map(documented, PAGES))
    assert {("tritone_client", "Client"), ("tritone_client.html", "answer_html")} <= found


def test_names_before_version_0_2():
    runtime = tritone_client.Computed("CPU", "float32", "onnxruntime")
    assert tritone_client.Computed is tritone_client.Runtime
    assert replace(prediction(), runtime=runtime).computed is runtime
    assert prediction().computed is prediction().runtime


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        tritone_client.nope  # noqa: B018 (its value is not used)
