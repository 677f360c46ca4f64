"""Which builds of PyTorch are announced before pip installs one, by what a package index lists."""

import sys
from importlib import metadata

import pytest

from requirements import pytorch
from requirements.pins import FOLDER, versions

PIN = versions(FOLDER / "export.txt", "3.11")["torch"]
PIP = """
import sys
assert sys.argv[1:] == ["index", "versions", "torch"]
print("torch (9.9.9)\\nAvailable versions: {}\\n  INSTALLED: none")
"""


def pip(tmp_path, listed: str) -> tuple[str, str]:
    """A command that answers as pip does."""
    (tmp_path / "pip.py").write_text(PIP.format(listed))
    return sys.executable, str(tmp_path / "pip.py")


@pytest.mark.parametrize(
    ("listed", "cuda"),
    [
        (f"9.9.9, {PIN}, 2.0.0+cpu", True),
        (f"9.9.9+cpu, {PIN}+cpu, {PIN}", False),
        (f"{PIN}+cu130, {PIN}+cpu, {PIN}", True),  # pip takes the last in the order of the alphabet
        (f"{PIN}+cpu", False),
        ("9.9.9, 2.0.0", False),
        ("", False),
    ],
)
def test_a_build_with_cuda_is_announced(tmp_path, monkeypatch, listed, cuda):
    monkeypatch.setattr(metadata, "distributions", lambda name: [])
    assert pytorch.brings_cuda(pip(tmp_path, listed)) is cuda


def test_nothing_is_announced_where_pytorch_is_installed_or_pip_fails(tmp_path, monkeypatch):
    installed = metadata.version("torch")
    assert pytorch.brings_cuda(pip(tmp_path, PIN)) is (installed.partition("+")[0] != PIN)
    monkeypatch.setattr(metadata, "distributions", lambda name: [])
    assert not pytorch.brings_cuda((sys.executable, "-c", "raise SystemExit('no index')"))
