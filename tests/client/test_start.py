"""The command `tritone` before it asks anything: help that needs no heavy package, version, shell completion."""

import subprocess
import sys

import pytest
from tritone_client.version import __version__

from tests.support.command import TRITONE, tritone

HEAVY = ("asyncio", "grpc", "matplotlib", "numpy", "pyarrow", "rich", "tritonclient")


@pytest.mark.parametrize("words", ["--help", "-h", "classify --help", "bulk -h", "web --help"])
def test_help_imports_nothing_heavy(words: str):
    """NumPy and gRPC take most of a second to import, which nobody who reads the help should wait for."""
    program = f"""
import sys
from tritone_client.cli import main
sys.argv = ["tritone", *{words.split()!r}]
try:
    main()
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("Usage: tritone") and done.stderr.strip() == "[]"


def test_each_command_is_described_in_a_line_of_80_columns():
    done = tritone("--help", env={"COLUMNS": "80", "PATH": "/usr/bin:/bin"})
    commands = done.stdout.partition("Commands:\n")[2].splitlines()
    described = [line for line in commands if line.strip() and not line.startswith("  The environment")]
    assert len(described) >= 11
    assert [line for line in described if line.endswith("...") or len(line.split()) < 4] == []


def test_version():
    assert tritone("--version").stdout == f"tritone {__version__}\n"


@pytest.mark.parametrize(
    ("words", "completed"), [("tritone cla", "classify"), ("tritone bulk --retry", "--retry-failed")]
)
def test_shells_complete_commands_and_options(words: str, completed: str):
    asked = {"_TRITONE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert tritone(env=asked).stdout.split() == [completed]
    script = tritone(env={"_TRITONE_COMPLETE": "source_bash"}).stdout
    assert "complete" in script and TRITONE.rpartition("/")[2] in script
