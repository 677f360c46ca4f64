"""make lint: it needs a few small packages, and its result does not depend on what else is installed."""

import ast
import subprocess
import sys
from importlib import metadata

import pytest
import yaml

from requirements import pins
from requirements.pins import FOLDER, PYTHONS
from tests.support.project import ROOT
from tests.test_layout import OURS, ours

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LINT = FOLDER / "lint.txt"
HEAVY = {"torch", "onnx", "onnxruntime", "openvino", "nvidia-pytriton", "tritonclient", "gradio", "scipy"}
BY_TRITON = {"triton_python_backend_utils", "plan", "planned", "rows", "scheduler"}
"""Modules that Triton's Python stub finds beside a backend: typings/ describes them."""


def commands(venv: str) -> list[str]:
    """What `make lint` would run for an environment that is not there yet."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "lint", f"VENV={venv}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_it_installs_its_own_requirements_alone(tmp_path):
    installed = [line for line in commands(str(tmp_path / "venv")) if " install " in line]
    assert len(installed) == 1
    assert installed[0].endswith("-c requirements/constraints.txt -r requirements/lint.txt")


@pytest.mark.parametrize("python", PYTHONS)
def test_its_pins_are_those_of_the_other_files_and_none_is_heavy(python):
    needed = pins.versions(LINT, python)
    assert {"mypy", "ruff"} <= needed.keys() and not needed.keys() & HEAVY
    for file in FOLDER.glob("*.txt"):
        other = pins.versions(file, python)
        assert {name: other[name] for name in needed.keys() & other.keys()}.items() <= needed.items(), file.name
    assert needed.items() <= pins.versions(FOLDER / "constraints.txt", python).items()
    assert needed.items() <= pins.versions(FOLDER / "test.txt", python).items()


def test_mypy_skips_every_package_that_it_does_not_install():
    """Or its result would depend on whether that is installed."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    [skipped] = [each for each in settings["overrides"] if each.get("follow_imports") == "skip"]
    assert skipped["ignore_missing_imports"] and skipped["follow_imports_for_stubs"]
    installed = {name for each in pins.versions(LINT, "3.11") for name in top_level(each)}
    known = sys.stdlib_module_names | OURS | BY_TRITON | installed | {"typing_extensions"}
    imported = {
        name.partition(".")[0] for _, tree in ours().values() for node in ast.walk(tree) for name in names(node)
    }
    assert imported - known == {name.removesuffix(".*") for name in skipped["module"]}


def names(node: ast.AST) -> list[str]:
    """The modules that an import names, but for those relative to its own package."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


def top_level(distribution: str) -> set[str]:
    """The modules of an installed package."""
    return {
        file.parts[0]
        for file in metadata.files(distribution) or []
        if file.name == "__init__.py" and len(file.parts) == 2
    }


def test_a_commit_is_checked_by_the_same_commands():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in hooks[0]["hooks"]]
    checks = [part.strip() for line in commands(".venv")[-3:] for part in line.split("&&")]
    assert [check.replace(" --check .", "").removesuffix(" .") for check in checks] == entries
