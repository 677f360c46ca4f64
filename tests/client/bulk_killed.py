"""Kills a process again and again: `python -m tests.client.bulk_killed FOLDER SUFFIX STRIDE`.

Three runs over eight files (two that fail, the failed ones asked again, one more file) are each killed at the
first line that they execute of the modules that keep rows, STRIDE lines later, and so on, each time from the same
state on disk. After each kill the run is repeated, and what it leaves must be what it leaves undisturbed. Prints
how many kills there were.
"""

import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tritone_client import files
from tritone_client.bulk import parquet, results
from tritone_client.errors import InvalidRecording

from tests.client.bulk_answers import prediction, read_rows

KILLED_IN = {module.__file__ for module in (results, parquet, files)}
RUNS = ({"failing": (2, 5), "count": 7}, {"retry_failed": True, "count": 7}, {"count": 8})


def run(out: Path, count: int, failing: tuple[int, ...] = (), retry_failed: bool = False) -> None:
    """What a run does with its rows."""
    with results.Results(str(out), "vgg19_bn_cqt", {}, retry_failed=retry_failed) as rows:
        for i in range(count):
            if rows.claim(f"file {i}\n"):
                rows.add(f"file {i}\n", InvalidRecording("bad") if i in failing else prediction(float(i)))
        rows.sync()


def killed(out: Path, line: int, arguments: dict[str, Any]) -> bool:
    """Whether a run, in a child, did not get beyond so many lines."""
    if child := os.fork():
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in KILLED_IN:
            return None
        lines += event == "line"
        if lines == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    run(out, **arguments)
    os._exit(0)


def state(out: Path) -> dict[str, tuple[object, object]]:
    """File -> what its row tells. Raises `AssertionError` for two rows of a file, and for litter."""
    rows = read_rows(out)
    found = {row["file"]: (row.get("duration") and float(row["duration"]), row.get("cause")) for row in rows}
    assert len(found) == len(rows), "a file has two rows"
    assert [path.name for path in out.parent.iterdir()] == [out.name], "something is left beside"
    return found


def main(folder: Path, suffix: str, stride: int) -> None:
    """Kill each of the runs everywhere."""
    kills = 0
    before = folder / "before"
    before.mkdir()
    for arguments in RUNS:
        after = folder / "after"
        shutil.copytree(before, after)
        run(after / f"out{suffix}", **arguments)
        wanted, line = state(after / f"out{suffix}"), 1
        while True:
            shutil.copytree(before, folder / "killed")
            out = folder / "killed" / f"out{suffix}"
            if not killed(out, line, arguments):
                break
            run(out, **arguments)
            assert state(out) == wanted, f"{arguments}, killed at line {line}: {state(out)}"
            shutil.rmtree(folder / "killed")
            line, kills = line + stride, kills + 1
        shutil.rmtree(folder / "killed")
        shutil.rmtree(before)
        after.rename(before)
    print(kills)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
