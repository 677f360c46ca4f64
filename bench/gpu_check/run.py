"""Runs stages one after the other, each with a time limit; writes the results so far to disk after each stage."""

from __future__ import annotations

import json
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.gpu_check.check import Check
from bench.gpu_check.stages import Stage
from server.installation import ROOT

SUMMARY, ARCHIVE = "summary.txt", "logs.tar.gz"
MIN_SECONDS = 20  # with less time left, no further stage starts
GRACE_SECONDS = 10  # between SIGTERM and SIGKILL
LAST_LINES = 12
TOO_LONG = 124  # what timeout(1) returns


class Results:
    """Results of the stages.

    Parameters
    ----------
    out : folder for summary.txt, one line of JSON for each stage, and logs.tar.gz
    logs : folder of the stages' logs and files
    """

    def __init__(self, out: Path, logs: Path) -> None:
        self._out, self._logs = out, logs
        self._lines: list[str] = []
        out.mkdir(parents=True, exist_ok=True)

    def add(self, line: dict[str, Any]) -> None:
        """Add a line and write both files, so that the results survive a later interruption."""
        self._lines.append(json.dumps(line))
        print(self._lines[-1], flush=True)
        (self._out / SUMMARY).write_text("".join(f"{line}\n" for line in self._lines))
        with tarfile.open(self._out / ARCHIVE, "w:gz") as archive:
            archive.add(self._logs, "logs")


def run(check: Check, chosen: Sequence[Stage], results: Results, logs: Path, seconds: float) -> int:
    """Run the stages within a total number of seconds; return how many failed."""
    deadline, failed = time.monotonic() + seconds, 0
    for stage in chosen:
        left = deadline - time.monotonic() - GRACE_SECONDS
        if stage.on_gpu and check.device != "cuda":
            results.add({"stage": stage.name, "left_out": "needs a GPU"})
        elif left < MIN_SECONDS:
            results.add({"stage": stage.name, "left_out": f"no time: {max(left, 0):.0f} s left"})
        else:
            print(f"== {stage.name}", flush=True)
            line = run_stage(stage, logs / f"{stage.name}.log", min(stage.seconds, left))
            failed += "failed" in line
            results.add(line)
    return failed


def run_stage(stage: Stage, log: Path, seconds: float) -> dict[str, Any]:
    """Run one stage; if it fails, print the last lines of its log.

    Returns
    -------
    its line of the summary: stage, seconds, and found; or failed (the reason) and the last line of its log
    """
    start, problem = time.monotonic(), None
    with log.open("wb") as file:
        for command in stage.commands:
            left = seconds - (time.monotonic() - start)
            code = call(command, file, max(left, 1.0))
            if code:
                problem = f"took more than {seconds:.0f} s" if code == TOO_LONG else f"exit code {code}"
                break
    printed = log.read_text(errors="replace")
    line = {"stage": stage.name, "seconds": round(time.monotonic() - start, 1)}
    if problem is None:
        try:
            return line | {"found": stage.read(printed)}
        except (ValueError, OSError, KeyError) as error:
            problem = f"its figures cannot be read: {error}"
    last = printed.splitlines()[-LAST_LINES:]
    print("\n".join([f"{stage.name}: {problem}; the last lines of its log:", *last]), flush=True)
    return line | {"failed": problem, "last": last[-1] if last else ""}


def call(command: Sequence[str], file: Any, seconds: float) -> int:
    """Run a command and its children for at most a number of seconds; return the exit code."""
    limited = ["timeout", f"--kill-after={GRACE_SECONDS}", f"{seconds:.0f}", *command]
    process = subprocess.Popen(limited, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        return process.wait()
    except BaseException:
        process.terminate()  # timeout(1) forwards the signal
        process.wait()
        raise
