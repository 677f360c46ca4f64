"""The stages of a check, the most valuable first: their commands, and how their figures are read."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.gpu_check.check import FP16_ROWS, Check
from server.installation import ROOT

# Stages implemented by the function of that name in the module of that name: `python -m bench.gpu_check NAME`.
OURS = ("facts", "ceilings", "session", "server", "networks", "cores")
# A test that the stage `bench` makes redundant.
ITSELF = "tests/bench/test_gpu.py::test_the_benchmark_runs_on_a_gpu"


@dataclass(frozen=True)
class Stage:
    """Part of a check.

    Attributes
    ----------
    name : name of the stage on the command line
    seconds : time limit
    commands : commands, which run one after the other until one fails
    read : function from their output to the figures; raises ValueError if there are none
    on_gpu : whether it needs a GPU; a dry run skips it
    """

    name: str
    seconds: int
    commands: Sequence[Sequence[str]]
    read: Callable[[str], dict[str, Any]]
    on_gpu: bool = False


def stages(check: Check, logs: Path) -> list[Stage]:
    """Return all stages in order.

    Parameters
    ----------
    logs : folder for files that a stage writes
    """
    python, repository = [sys.executable, "-m"], f"--repository={check.repository}"
    fp16 = ["export", "fp16", f"--rows={FP16_ROWS}"]
    export = [[*python, *words, repository, check.system] for words in (["export"], fp16)]
    bench = ["bench", "--device=cuda", "--quick", f"--systems={check.system}", f"--results={logs}"]
    tests = ["pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", f"--deselect={ITSELF}", *gpu_tests()]

    def own(name: str) -> list[list[str]]:
        return [[*python, "bench.gpu_check", name, *check.flags()]]

    return [
        Stage("facts", 60, own("facts"), last_json),
        Stage("ceilings", 60, own("ceilings"), last_json, on_gpu=True),
        Stage("export", 300, export, last_line),
        Stage("session", 90, own("session"), last_json),
        Stage("server", 180, own("server"), last_json),
        Stage("tests", 180, [[*python, *tests]], last_line),
        Stage("bench", 200, [[*python, *bench]], partial(gpu_figures, logs / "gpu.json"), on_gpu=True),
        Stage("networks", 180, own("networks"), last_json),
        Stage("cores", 120, own("cores"), last_json),
    ]


def gpu_tests() -> list[str]:
    """Return the files with GPU tests; collecting others takes long and needs packages that are missing."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if re.search(r"\bmark\.gpu\b", file.read_text())]


def figures(name: str, check: Check) -> dict[str, Any]:
    """Run a stage of `OURS`; imports only what that stage needs, because other packages may be broken here."""
    return getattr(import_module(f"bench.gpu_check.{name}"), name)(check)


def last_json(printed: str) -> dict[str, Any]:
    """Return the last JSON object in the output; libraries may print lines after it."""
    lines = [line for line in printed.splitlines() if line.startswith('{"')]
    if not lines:
        raise ValueError("no line is a JSON object")
    return json.loads(lines[-1])


def last_line(printed: str) -> dict[str, Any]:
    """Return the last line of the output."""
    return {"said": printed.strip().rpartition("\n")[2].strip("= ")}


def gpu_figures(file: Path, printed: str) -> dict[str, Any]:
    """Return the most informative figures of gpu.json, which the benchmark wrote."""
    gpu = json.loads(file.read_text())["gpu"]
    found: dict[str, Any] = {"networks": {}}
    for measured in gpu["networks"]:
        for network in measured["networks"]:
            ms = {cell["batch"]: round(cell["ms"], 3) for cell in network["batches"]}
            found["networks"][f"{measured['model']}, {network['name']}"] = ms
    if "left_out" in gpu:
        return found | {"left_out": gpu["left_out"]}
    pipelines = gpu["comparison"]["rows"]
    return found | {"per_s": {pipeline["name"]: round(pipeline["rate"], 1) for pipeline in pipelines}}
