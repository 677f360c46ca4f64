"""docs/architecture.md against the source: its modules exist, and its table of imports is the tested one."""

import re

from tests.support.project import ROOT
from tests.test_layout import CLIENT_MAY_IMPORT, MAY_IMPORT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CLIENT = ROOT / "client" / "tritone_client"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first row is `heading`, without that row and the line below it."""
    [table] = re.findall(rf"^{re.escape(heading)}\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def code(cell: str) -> list[str]:
    """What a cell has between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_imports_is_the_one_that_is_tested():
    found = rows("| folder | what it is for | may import |")
    assert {folder.strip("`"): set(code(targets)) for folder, _, targets in found} == MAY_IMPORT
    assert all(bool(code(targets)) != (targets == "nothing") for *_, targets in found)


def test_the_modules_that_are_named_exist():
    paths = [name for _, where in rows("| what | where |") for name in code(where) if "/" in name]
    assert len(paths) > 30
    assert [name for name in paths if not (ROOT / name).exists()] == []


def test_the_table_of_the_client_is_the_one_that_is_tested():
    found = rows("| part of `tritone_client` | what it is for | may import |")
    allowed = {part.strip("`"): set(code(targets)) for part, _, targets in found}
    assert allowed.pop("cli") == set() and CLIENT_MAY_IMPORT["cli"] == set(allowed)
    assert allowed == {part: targets for part, targets in CLIENT_MAY_IMPORT.items() if part != "cli"}
    folders = {file.parent.name for file in CLIENT.glob("*/__init__.py")}
    assert folders == {*allowed, "cli"} - {"base", "public"}


def test_every_word_is_explained_once():
    words = [word for word, _ in rows("| word | meaning |")]
    assert len(words) == len(set(words)) > 20
