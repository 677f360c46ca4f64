"""`tritone bulk`, as a user runs it, on a small real Triton."""

import os
import pty
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from tritone_client import Client, InvalidRecording

from tests.client.bulk_answers import read_rows
from tests.support.command import TRITONE, tritone
from tests.support.triton import Triton, free_ports
from tests.support.waiting import wait_until

SLOW = ("-o", "behave=slow", "-o", "seconds=0.2")


def command(source: Path | str, out: Path | str, url: str, *more: str) -> list[str]:
    return [TRITONE, "bulk", str(source), "--out", str(out), "--url", url, *more]


def run(*args: Any, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return tritone(*command(*args)[1:], **kwargs)


def start(*args: Any, **kwargs: Any) -> subprocess.Popen[str]:
    """A run in the background, which Ctrl-C reaches whatever the shell does."""
    return subprocess.Popen(
        command(*args),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **kwargs,
    )


def rows_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """A folder with eight recordings, the first of which is broken."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for i in range(8):
        (folder / f"{i}.wav").write_text(f"song {i}" if i else '{"broken": true}')
    return folder


@pytest.mark.slow
def test_killed_and_the_server_restarted(tmp_path: Path):
    """2 000 files, every one once and as it is answered alone; then a server that does not come back."""
    songs, out = tmp_path / "songs", tmp_path / "out.jsonl"
    for i in range(2000):
        path = songs / f"{i % 7}" / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"song {i}" if i % 200 else '{"broken": true}')
    with Triton(tmp_path, ports=free_ports(2)) as server:
        arguments = (songs, out, server.grpc, "--in-flight", "4")
        with start(*arguments) as first:
            wait_until(lambda: rows_in(out) > 300)
            first.kill()
        os.truncate(out, out.stat().st_size - 9)  # had it struck within a write
        kept = rows_in(out)
        with start(*arguments) as second:
            wait_until(lambda: rows_in(out) > kept + 300)
            server.stop(signal.SIGKILL)
            server.start()
            told = second.communicate(timeout=60)[1].splitlines()
        assert second.returncode == 1 and 300 <= kept < rows_in(out) == 2000
        found = {row.pop("file"): row | {"seconds": 0} for row in read_rows(out)}
        files = list(songs.rglob("*.wav"))
        with Client(server.grpc) as client, ThreadPoolExecutor(8) as pool:
            answers = pool.map(partial(alone, client), files)
        assert found == dict(zip(map(str, files), answers, strict=True))
        assert told[0].startswith("No server can be reached at grpc://") and "Waiting up to 300 s" in told[0]
        assert told[1].startswith("The server is back after ")
        assert told[-2] == "Failed rows: 10 InvalidRecording. Use --retry-failed to send these files again."
        assert re.fullmatch(
            rf"{2000 - kept} files in [\d.]+ s \(\d+\.?\d*/s\): \d+ answered, \d+ failed; {out} "
            rf"\(2000 rows, {kept} of them from earlier runs\)",
            told[-1],
        )

        slow = tmp_path / "slow.jsonl"
        with start(songs, slow, server.grpc, *SLOW, "--patience", "0.5") as third:
            wait_until(lambda: rows_in(slow) > 0)
            server.stop(signal.SIGKILL)
            told = third.communicate(timeout=60)[1].splitlines()
        assert third.returncode == 3 and rows_in(slow) == len(read_rows(slow))
        assert re.fullmatch(
            rf"tritone: No server can be .* There was no answer for 0.5 s. {rows_in(slow)} rows are in '{slow}': "
            "run the same command to continue.",
            told[-1],
        )


def alone(client: Client, path: Path) -> dict[str, Any]:
    """The row of a file, asked for by itself, without its time."""
    try:
        answer = client.classify(path).to_dict()
    except InvalidRecording as error:
        answer = {"error": str(error), "cause": "InvalidRecording", "model": "vgg19_bn_cqt"}
    return answer | {"options": {}, "seconds": 0}


def test_failed_files_again(triton: Triton, songs: Path, tmp_path: Path):
    out = tmp_path / "out.csv"
    done = run(songs, out, triton.grpc)
    assert done.returncode == 1 and done.stdout == ""
    told = done.stderr.splitlines()
    assert told[0] == "Note (7 files): These are demo weights: the label means nothing for real music."
    assert told[1] == "Failed rows: 1 InvalidRecording. Use --retry-failed to send these files again."
    assert re.fullmatch(rf"8 files in \d\.\d s \([\d.]+/s\): 7 answered, 1 failed; {out}", told[2])
    (songs / "0.wav").write_text("whole")
    before = out.read_bytes()
    assert run(songs, out, triton.grpc).returncode == 1 and out.read_bytes() == before
    done = run(songs, out, triton.grpc, "--retry-failed")
    assert done.returncode == 0 and "1 files in" in done.stderr
    assert {row["label"] for row in read_rows(out)} == {"Opera"} and len(read_rows(out)) == 8


def test_emotions_and_options(triton: Triton, songs: Path, tmp_path: Path):
    out = tmp_path / "out.parquet"
    for song in songs.iterdir():
        song.write_bytes(b"\3\3\4")
    speech = ("--model", "emotion2vec_plus_large", "-o", "smoothing=1.5")
    assert run(songs, out, triton.grpc, *speech).returncode == 0
    rows = read_rows(out)
    assert len(rows) == 8 and {row["model"] for row in rows} == {"emotion2vec_plus_large"}
    assert {row["options"] for row in rows} == {'{"smoothing": 1.5}'} and rows[0]["label"] == "happy"
    done = run(songs, out, triton.grpc)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert 'emotion2vec_plus_large with {"smoothing": 1.5}, not of vgg19_bn_cqt with no options' in done.stderr


@pytest.mark.parametrize(
    ("source", "out", "url", "more", "told"),
    [
        ("songs", "out.csv", "127.0.0.1:1", (), "No server can be reached at grpc://127.0.0.1:1"),
        ("songs", "nowhere/out.csv", "127.0.0.1:1", (), "there is no folder"),
        ("nowhere", "out.csv", "127.0.0.1:1", (), "'nowhere' cannot be read"),
        ("songs", "out.csv", None, ("--model", "nobody"), "has no model 'nobody'"),
        ("songs", "out.csv", None, ("--model", "vgg19_bn_cqt_raw"), "takes no recordings"),
        ("songs", "out.csv", "http://127.0.0.1:1", (), "gRPC"),
        ("songs", "out.csv", None, ("-o", "denoise=all"), "OPTIONS: denoise must be null"),
        ("songs", "out.csv", None, ("-o", "model=x"), "'model' is an argument of the client"),
    ],
)
def test_what_cannot_begin(
    triton: Triton, songs: Path, tmp_path: Path, source: str, out: str, url: str | None, more: tuple, told: str
):
    done = run(source, out, url or triton.grpc, *more, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("tritone: ") and told in done.stderr
    assert done.stderr.count("\n") == 1 and os.listdir(tmp_path) == ["songs"]


def test_files_that_a_folder_leaves_out(triton: Triton, songs: Path):
    """The summary counts them; where there is nothing else, nothing is begun. An empty folder is fine."""
    out = songs / "out.jsonl"
    for name in ("a.txt", "b.txt", "c.jpg"):
        (songs / name).touch()
    (songs / "link.wav").symlink_to(__file__)
    skipped = "Skipped 3 files by extension (.txt 2, .jpg 1) and 1 link that leaves the folder; a list may"
    for _ in range(2):  # the second time the folder holds the rows, too
        done = run(songs, out, triton.grpc)
        assert done.returncode == 1 and len(read_rows(out)) == 8 and done.stderr.count(skipped) == 1
    for song in (*songs.glob("?.wav"), out):
        song.unlink()
    done = run(songs, out, triton.grpc)
    assert done.returncode == 2 and not out.exists() and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"tritone: '{songs}' contains no recordings. {skipped}")
    for path in songs.iterdir():
        path.unlink()
    for _ in range(2):
        assert run(songs, out, triton.grpc).returncode == 0


def test_streams_that_are_closed_or_full(triton: Triton, songs: Path, tmp_path: Path):
    command = f"{TRITONE} bulk songs --out out.jsonl --url {triton.grpc}"
    shell = {"shell": True, "cwd": tmp_path, "stderr": subprocess.PIPE, "text": True, "timeout": 30}
    done = subprocess.run(command.replace("songs", "-") + " <&-", **shell)
    assert done.returncode == 2 and done.stderr.startswith("tritone: The standard input is closed")
    for nowhere in ("2>/dev/full", "2>&-"):
        done = subprocess.run(f"{command} {nowhere}", **shell)
        rows = read_rows(tmp_path / "out.jsonl")
        assert done.returncode == 1 and len(rows) == 8  # one of them is broken
        (tmp_path / "out.jsonl").unlink()


def test_an_interruption(triton: Triton, songs: Path, tmp_path: Path):
    """Also while it waits for the next line of its standard input; meanwhile another run is kept away."""
    out = tmp_path / "out.parquet"
    with start("-", out, triton.grpc, stdin=subprocess.PIPE) as process:
        process.stdin.write(f"{songs}/1.wav\n{songs}/2.wav\n")
        process.stdin.flush()
        wait_until(lambda: rows_in(tmp_path / "out.parquet.journal") == 2)
        other = run(songs, out, triton.grpc)
        assert other.returncode == 2 and f"Another run is writing to '{out}'" in other.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        told = process.stderr.read()
    assert told == f"tritone: Interrupted. 2 rows are in '{out}.journal': run the same command to continue.\n"
    done = run("-", out, triton.grpc, input="\n".join(f"{songs}/{i}.wav" for i in range(1, 8)))
    assert (
        done.returncode == 0
        and len(read_rows(out)) == 7
        and "(7 rows, 2 of them from earlier runs)" in done.stderr
    )
    assert sorted(os.listdir(tmp_path)) == ["out.parquet", "songs"]


def test_a_full_disk(triton: Triton, songs: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    limited = ["sh", "-c", 'ulimit -f 4; exec "$@"', "sh", *command(songs, out, triton.grpc)]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=60)
    kept = len(read_rows(out))
    assert done.returncode == 3 and 0 < kept < 8
    again = f"{kept} rows are in '{out}': run the same command to continue."
    assert done.stderr == f"tritone: '{out}' cannot be written: File too large. {again}\n"


def test_progress_on_a_terminal(triton: Triton, songs: Path, tmp_path: Path):
    near, far = pty.openpty()
    arguments = command(songs, tmp_path / "out.jsonl", triton.grpc, *SLOW, "--in-flight", "1")
    with subprocess.Popen(
        arguments, stdout=far, stderr=far, env=os.environ | {"COLUMNS": "80", "TERM": "xterm-256color"}
    ) as process:
        os.close(far)
        shown = b""
        with pytest.raises(OSError):  # the end of a terminal
            while True:
                shown += os.read(near, 10_000)
        assert process.wait() == 1
    os.close(near)
    bars = [Text.from_ansi(line) for line in re.split(r"[\r\n]", shown.decode()) if "s left" in line]
    assert bars and all(re.search(r"\d+% *\d/8 *[\d.]+/s, \d\.\d s left", bar.plain) for bar in bars), shown
    assert all(bar.cell_len <= 80 for bar in bars)


def test_progress_where_nobody_looks(triton: Triton, songs: Path, tmp_path: Path):
    (songs / "notes.txt").touch()
    code = "from tritone_client.bulk import progress as p; p.EVERY = 1; from tritone_client import cli; cli.main()"
    arguments = command(songs, tmp_path / "out.jsonl", triton.grpc, *SLOW, "--in-flight", "1")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = {arguments!r}; {code}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert re.search(r"^\d of 8 files: [\d.]+/s, \d\.\d s left(, 1 failed)?$", done.stderr, re.M), done.stderr
    assert done.stderr.count("Skipped 1 file by extension (.txt 1);") == 2  # early, and at the end
