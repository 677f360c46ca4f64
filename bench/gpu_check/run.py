"""Runs stages one after the other, each with a time limit; what is known so far is on disk after each of them."""

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
MIN_SECONDS = 20  # with less, no stage is worth its beginning
GRACE_SECONDS = 10  # from the request to end to the end
LAST_LINES = 12
TOO_LONG = 124  # what timeout(1) returns


class Results:
    """What the stages found.

    Parameters
    ----------
    out : folder for summary.txt, one line of JSON for each stage, and logs.tar.gz
    logs : folder of what the stages printed and wrote
    """

    def __init__(self, out: Path, logs: Path) -> None:
        self._out, self._logs = out, logs
        self._lines: list[str] = []
        out.mkdir(parents=True, exist_ok=True)

    def add(self, line: dict[str, Any]) -> None:
        """Renew both files, so that whoever is stopped later has this all the same."""
        self._lines.append(json.dumps(line))
        print(self._lines[-1], flush=True)
        (self._out / SUMMARY).write_text("".join(f"{line}\n" for line in self._lines))
        with tarfile.open(self._out / ARCHIVE, "w:gz") as archive:
            archive.add(self._logs, "logs")


def run(check: Check, chosen: Sequence[Stage], results: Results, logs: Path, seconds: float) -> int:
    """Run the stages within a number of seconds together; returns how many failed."""
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
    """Run one stage, and print the last lines of its log where it failed.

    Returns
    -------
    its line of the summary: stage, seconds, and found; or failed, why, and the last line of its log
    """
    start, fault = time.monotonic(), None
    with log.open("wb") as file:
        for command in stage.commands:
            left = seconds - (time.monotonic() - start)
            code = call(command, file, max(left, 1.0))
            if code:
                fault = f"took more than {seconds:.0f} s" if code == TOO_LONG else f"exit code {code}"
                break
    printed = log.read_text(errors="replace")
    line = {"stage": stage.name, "seconds": round(time.monotonic() - start, 1)}
    if fault is None:
        try:
            return line | {"found": stage.read(printed)}
        except (ValueError, OSError, KeyError) as error:
            fault = f"its figures cannot be read: {error}"
    last = printed.splitlines()[-LAST_LINES:]
    print("\n".join([f"{stage.name}: {fault}; the last lines of its log:", *last]), flush=True)
    return line | {"failed": fault, "last": last[-1] if last else ""}


def call(command: Sequence[str], file: Any, seconds: float) -> int:
    """Run a command with all that it starts for a number of seconds at most; its exit code."""
    limited = ["timeout", f"--kill-after={GRACE_SECONDS}", f"{seconds:.0f}", *command]
    process = subprocess.Popen(limited, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        return process.wait()
    except BaseException:
        process.terminate()  # timeout passes it on
        process.wait()
        raise
