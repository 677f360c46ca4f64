"""What the downloads of an installation are counted from: pip's report and the sizes of files."""

import json
import re
import sys

import pytest

from bench import downloads
from bench.errors import BenchError
from tests.support.project import ROOT


def pip(tmp_path, answer: str) -> tuple[str, str]:
    """A command that does as pip does, and keeps its arguments."""
    script = tmp_path / "pip.py"
    script.write_text(f"import sys\nopen({str(tmp_path / 'said')!r}, 'w').write(str(sys.argv[1:]))\n{answer}")
    return sys.executable, str(script)


def test_each_wheel_counts_with_the_size_of_its_file(tmp_path):
    wheel = tmp_path / "a b.whl"
    wheel.write_bytes(bytes(1234))
    entry = {"metadata": {"name": "Some", "version": "1"}, "download_info": {"url": wheel.as_uri()}}
    command = pip(tmp_path, f"print({json.dumps({'install': [entry]})!r})")
    assert downloads.wheels(("--no-deps", "triton.txt"), command) == [("some==1", 1234)]
    said = (tmp_path / "said").read_text()
    assert "--dry-run" in said and "--no-deps" in said and "requirements/triton.txt" in said
    assert "--constraint" not in said
    downloads.wheels(("onnx.txt",), command)
    assert "constraints.txt" in (tmp_path / "said").read_text()


def test_what_pip_refuses_is_an_error_in_its_words(tmp_path):
    with pytest.raises(BenchError, match="^ERROR: no such package$"):
        downloads.wheels(("onnx.txt",), pip(tmp_path, "sys.exit('looking\\nERROR: no such package')"))


def test_the_table_adds_up_and_tells_cuda_from_the_rest():
    sizes = {"torch==2": 500_000_000, "nvidia-cublas==1": 400_000_000, "nvidia-pytriton==1": 50_000_000}
    row = downloads.table({"make export": sizes}).splitlines()[-1]
    assert row.startswith("| `make export` | 3 | 950 | 400 | torch==2 500, nvidia-cublas==1 400,")


def test_the_files_are_those_that_the_makefile_installs():
    """Of the stamps that the two commands lead to."""
    rules = re.split(r"\n(?=\$\(VENV\)/\.)", (ROOT / "Makefile").read_text())
    for command, stamps in {
        "make demo": ("serve", "weights"),
        "make export": ("serve", "weights", "export"),
    }.items():
        chosen = [rule for rule in rules if rule.startswith(tuple(f"$(VENV)/.{stamp}:" for stamp in stamps))]
        assert len(chosen) == len(stamps)
        installed = re.findall(r"-r requirements/(\S+)", "".join(chosen))
        counted = [part for install in downloads.COMMANDS[command] for part in install if part.endswith(".txt")]
        assert sorted(counted) == sorted(installed)
