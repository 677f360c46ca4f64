"""The engine of bulk runs, on answers that need no server."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tritone_client.answers.prediction import Prediction
from tritone_client.bulk import engine
from tritone_client.bulk.engine import Bulk, Stopped
from tritone_client.bulk.results import Results
from tritone_client.bulk.sources import Source
from tritone_client.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRecording,
    OutputFailed,
    ServerBusy,
    ServerUnavailable,
    UnknownModel,
)
from tritone_client.transport import retry

from tests.client.bulk_answers import prediction, read_rows

MODEL = "vgg19_bn_cqt"
Behave = Callable[[str], Awaitable[object]]
PROBE = "probe"  # in the place of noise


class Server:
    """Answers a recording, which says whose it is, by `behave`; `asked` has each question, in order."""

    def __init__(self, behave: Behave) -> None:
        self.behave = behave
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.alive = True

    async def ask(self, recording: Any) -> Prediction:
        name = recording.decode() if isinstance(recording, bytes) else PROBE
        self.asked.append(name)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(0.002)
            await self.behave(name)
        finally:
            self.at_once -= 1
        return prediction()

    async def ping(self) -> None:
        if not self.alive:
            raise ServerUnavailable("No server.")


class Run:
    """A run over files "0", "1", ... of `folder`, whose content is their name."""

    def __init__(
        self, folder: Path, files: int, behave: Callable[[str], Awaitable[object]], **options: Any
    ) -> None:
        self.out, self.server, self.told = folder / "out.jsonl", Server(behave), []
        self.files = [str(folder / str(i)) for i in range(files)]
        for path in self.files:
            Path(path).write_text(Path(path).name)
        self.options = {"in_flight": 4, "report": self.told.append} | options

    def __call__(self, source: list[str] | None = None) -> "Run":
        with Results(str(self.out), MODEL, {}) as results:
            self.bulk = Bulk(self.server.ask, self.server.ping, results, **self.options)
            asyncio.run(self.bulk.run(iter([Source(path) for path in source or self.files])))
        return self

    @property
    def failures(self) -> dict[str, str]:
        """File -> cause."""
        rows = read_rows(self.out)
        assert sorted(row["file"] for row in rows) == sorted(self.files), "every file once"
        return {Path(row["file"]).name: row["cause"] for row in rows if "cause" in row}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.002)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(engine, "EVERY", 0.02)


async def fine(name: str) -> None:
    """No trouble."""


def test_every_file_once_and_so_many_in_flight(tmp_path: Path):
    run = Run(tmp_path, 50, fine, in_flight=7)
    run([*run.files, *run.files[:9]])
    assert run.failures == {} and run.server.most_at_once == 7
    assert sorted(run.server.asked) == sorted(str(i) for i in range(50))
    assert (run.bulk.asked, run.bulk.skipped, run.bulk.done, run.bulk.failed) == (50, 9, 59, 0)
    assert run.bulk.notes == {"Demo weights.": 50} and run.told == []
    run()
    assert len(run.server.asked) == 50 and (run.bulk.asked, run.bulk.skipped) == (0, 50)


def test_what_is_a_files_own_failure(tmp_path: Path):
    async def behave(name: str) -> None:
        errors = {"1": InvalidRecording, "2": InferenceFailed, "3": DeadlineExceeded}
        if name in errors:
            raise errors[name]("This one.")

    run = Run(tmp_path, 8, behave)
    Path(run.files[4]).unlink()
    Path(run.files[5]).write_bytes(b"")
    assert run().failures == {
        **{"1": "InvalidRecording", "2": "InferenceFailed", "3": "DeadlineExceeded"},
        **{"4": "InvalidRecording", "5": "InvalidRecording"},
    }
    assert run.bulk.failed == 5 and Counter(run.server.asked)["3"] == 3  # twice alone


def test_a_name_is_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path(f"{os.curdir}/~nobody.mp3").write_text("0")
    run = Run(tmp_path, 0, fine)
    run(["~nobody.mp3", "~nobody/else.mp3"])
    assert run.server.asked == ["0"] and [row.get("cause") for row in read_rows(run.out)].count(None) == 1


def test_a_folder_that_could_not_be_read_is_a_row(tmp_path: Path):
    run = Run(tmp_path, 1, fine)
    with Results(str(run.out), MODEL, {}) as results:
        found = [Source("folder", InvalidRecording("No.")), Source(run.files[0])]
        asyncio.run(Bulk(run.server.ask, run.server.ping, results).run(iter(found)))
    assert [(row["file"], row.get("error")) for row in read_rows(run.out)][:1] == [("folder", "No.")]


def test_a_busy_server_slows_the_run_down(tmp_path: Path):
    """Beyond three at a time all are refused, for ever: no file is lost, none fails, and refusals grow rare."""

    async def behave(name: str) -> None:
        if run.server.at_once > 3:
            raise ServerBusy("Full.")
        await asyncio.sleep(0.002)

    run = Run(tmp_path, 60, behave, in_flight=16)
    assert run().failures == {}
    assert 60 < len(run.server.asked) < 60 * 8 and run.told == []


def test_a_server_that_only_refuses(tmp_path: Path):
    async def behave(name: str) -> None:
        if name != "0":
            raise ServerBusy("Full.")

    run, start = Run(tmp_path, 9, behave, patience=0.3), time.monotonic()
    with pytest.raises(Stopped, match=r"^Full\. There was no answer for 0\.3 s\.$"):
        run()
    assert 0.3 < time.monotonic() - start < 2
    assert [Path(row["file"]).name for row in read_rows(run.out)] == ["0"]


@pytest.mark.parametrize("error", [ServerUnavailable, UnknownModel])
def test_a_server_that_is_away_for_a_while(tmp_path: Path, error: type[Exception]):
    """What was in flight is asked again; meanwhile only one asks, and not with a file."""
    gone: list[float] = []

    async def behave(name: str) -> None:
        if len(run.server.asked) > 20 and not gone:
            gone.append(time.monotonic())
        if gone and time.monotonic() < gone[0] + 0.25:
            raise error("No server.")

    run = Run(tmp_path, 60, behave, in_flight=8)
    assert run().failures == {}
    again = [name for name, times in Counter(run.server.asked).items() if times > 1 and name != PROBE]
    assert 0 < len(again) <= 8
    first, last = (run.server.asked.index(PROBE), len(run.server.asked) - run.server.asked[::-1].index(PROBE))
    assert last - first > 5 and set(run.server.asked[first:last]) == {PROBE}
    assert run.told[0] == "No server. Waiting up to 300 s for the server to come back."
    assert run.told[1:] == ["The server is back after 0 s."]


def test_a_server_that_does_not_come_back(tmp_path: Path):
    async def behave(name: str) -> None:
        if len(run.server.asked) > 20:
            raise ServerUnavailable("No server.")

    run = Run(tmp_path, 60, behave, patience=0.2)
    with pytest.raises(Stopped, match=r"^No server\. There was no answer for 0\.2 s\.$"):
        run()
    assert 16 <= len(read_rows(run.out)) <= 20
    run.server.behave = fine
    assert run().failures == {}


def test_a_call_that_times_out_because_the_server_went(tmp_path: Path):
    async def behave(name: str) -> None:
        if name == "5" and run.server.asked.count("5") == 1:
            run.server.alive = False
            raise DeadlineExceeded("Late.")
        if name == PROBE:
            run.server.alive = True

    run = Run(tmp_path, 10, behave)
    assert run().failures == {} and run.server.asked.count("5") == 2


def test_more_in_flight_than_is_answered_in_time_fails_nobody(tmp_path: Path):
    """Each takes a while of a server that does one at a time: of four at once the last ones are late."""
    at_work = asyncio.Lock()

    async def behave(name: str) -> None:
        try:
            await asyncio.wait_for(at_work.acquire(), 0.05)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("No answer within 0.05 s.") from None
        await asyncio.sleep(0.03)
        at_work.release()

    run = Run(tmp_path, 12, behave, in_flight=6)
    assert run().failures == {} and len(run.server.asked) > 12


def test_a_network_that_hangs_ends_the_run(tmp_path: Path):
    """The server itself is there, so that each file alone would only be late."""
    hangs_from = 5

    async def behave(name: str) -> None:
        if int(name) >= hangs_from:
            await asyncio.sleep(0.03)
            raise DeadlineExceeded("No answer within 0.03 s.")

    run = Run(tmp_path, 40, behave, patience=0.1)
    with pytest.raises(Stopped, match=r"No answer within 0.03 s\. There was no answer for 0\.1 s\.$"):
        run()
    rows = read_rows(run.out)
    assert len([row for row in rows if "cause" not in row]) == 5 and len(rows) <= 5 + 4
    hangs_from = 100  # mended
    with Results(str(run.out), MODEL, {}, retry_failed=True):
        pass
    assert run().failures == {}


def test_a_file_that_takes_the_server_away_does_not_end_the_run(tmp_path: Path):
    """The others, in flight with it or after it, are answered; it is asked alone before it is blamed."""
    down: list[float] = []

    async def behave(name: str) -> None:
        if name == "7":
            down.append(time.monotonic())
            beside.append(run.server.at_once - 1)
            await asyncio.sleep(0.01)  # the last to fail, so that the others have had their turn when it is its
        if down and time.monotonic() < down[-1] + 0.03:
            raise ServerUnavailable("No server.")

    beside: list[int] = []
    run = Run(tmp_path, 40, behave, in_flight=8)
    assert run().failures == {"7": "ServerUnavailable"}
    assert len(down) == 1 + engine.ATTEMPTS_ALONE and beside[1:] == [0] * engine.ATTEMPTS_ALONE
    (error,) = (row["error"] for row in read_rows(run.out) if "error" in row)
    assert error == "The server stopped each of 3 times while it had only this file: No server."


def test_a_disk_that_is_full_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = Run(tmp_path, 60, fine)
    monkeypatch.setattr(Results, "sync", lambda results: (_ for _ in ()).throw(OutputFailed("Full.")))
    with pytest.raises(OutputFailed, match="Full"):
        run()


def test_a_run_that_is_cancelled_ends_its_calls(tmp_path: Path):
    """Also while a thread waits for the source."""
    ended: list[str] = []
    release = threading.Event()

    async def behave(name: str) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(name)
            raise

    def source() -> Any:
        yield from map(Source, run.files)
        release.wait(30)

    async def interrupted() -> None:
        with Results(str(run.out), MODEL, {}) as results:
            task = asyncio.create_task(Bulk(run.server.ask, run.server.ping, results).run(source()))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run = Run(tmp_path, 3, behave)
    start = time.monotonic()
    asyncio.run(interrupted())
    release.set()
    assert sorted(ended) == ["0", "1", "2"] and time.monotonic() - start < 5


def test_a_slow_source_holds_nothing_up(tmp_path: Path):
    """Files are asked as they are named, and rows reach the disk meanwhile."""
    answered, synced = threading.Event(), threading.Event()

    async def behave(name: str) -> None:
        answered.set()

    def source() -> Any:
        yield Source(run.files[0])
        assert answered.wait(10) and synced.wait(10)
        yield Source(run.files[1])

    class Noted(Results):
        """Tells when rows reach the disk."""

        def sync(self) -> None:
            super().sync()
            if self.rows:
                synced.set()

    run = Run(tmp_path, 2, behave)
    with Noted(str(run.out), MODEL, {}) as results:
        asyncio.run(Bulk(run.server.ask, run.server.ping, results, in_flight=2).run(source()))
    assert run.failures == {}


MEMORY = """
import asyncio, sys
from tests.client.bulk_answers import prediction
from tritone_client.bulk.engine import Bulk
from tritone_client.bulk.results import Results
from tritone_client.bulk.sources import Source

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4096

async def ask(recording):
    return answer

def source():
    for i in range(files):
        if i in (files // 10, files - 1):
            print(resident())
        steps = "/".join("." if bit == "1" else "" for bit in f"{i:017b}")  # which lead nowhere
        yield Source(f"{sys.argv[1]}/{steps}/song.mp3")

answer, files = prediction(), int(sys.argv[2])
with Results(sys.argv[1] + "/out.csv", "vgg19_bn_cqt", {}) as results:
    asyncio.run(Bulk(ask, None, results).run(source()))
print(results.rows)
"""


@pytest.mark.parametrize("files", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_memory_is_flat(tmp_path: Path, files: int):
    """Beyond the first tenth it grows by what tells which files were asked, 100 B each."""
    (tmp_path / "song.mp3").write_bytes(b"x" * 5000)
    command = [sys.executable, "-c", MEMORY, str(tmp_path), str(files)]
    done = subprocess.run(command, capture_output=True, text=True)
    early, late, rows = map(int, done.stdout.split())
    assert rows == files and late - early < 1e6 + 200 * files
