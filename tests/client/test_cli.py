"""The command `tritone`, as a user runs it: in a process of its own."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rich.text import Text

from tests.support.command import TRITONE, tritone
from tests.support.triton import Triton, free_ports


@pytest.fixture
def songs(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"song [{i}].mp3" for i in range(6)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * (i + 1))
    return [str(path) for path in paths]


def test_a_pipe_gets_tsv_and_notes_are_on_standard_error_once(triton: Triton, songs: list[str]):
    done = tritone("classify", *songs, "--url", triton.grpc, "--top-k", "2")
    assert done.returncode == 0
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:8] for row in rows] == [
        [song, "Opera", "0.5000", "Solo 25%", "2 of 2", "", "", ""] for song in songs
    ]
    assert all(row[8].isdigit() for row in rows)
    assert done.stderr.splitlines() == [
        "Note: These are demo weights: the label means nothing for real music.",
        "Note: The recording is shorter than a slice: it was padded.",
    ]


def test_json_lines_in_order_and_failures_among_them(triton: Triton, songs: list[str]):
    done = tritone(
        "classify", songs[0], "/nowhere.mp3", *songs[1:], "--json", "--url", triton.http, "--profile", "article-b"
    )
    assert done.returncode == 1 and done.stderr == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == [songs[0], "/nowhere.mp3", *songs[1:]]
    assert lines[1] == {
        "file": "/nowhere.mp3",
        "error": "'/nowhere.mp3' does not exist: check the path.",
        "cause": "InvalidRecording",
    }
    assert [line["echo"]["audio_bytes"] for line in (lines[0], *lines[2:])] == [1, 2, 3, 4, 5, 6]
    assert lines[0]["profile"] == "article-b" and lines[0]["probabilities"]["Opera"] == 0.5


def test_what_was_asked_for_has_columns(triton: Triton, songs: list[str]):
    asked = ("-o", "uncertainty=entropy", "-o", "review_threshold=0.2", "-o", "voting=majority")
    row = tritone("classify", songs[0], *asked, "--url", triton.grpc).stdout.split("\t")
    assert row[5:8] == ["entropy 0.25 > 0.20", "review", "0.7500"]
    assert tritone("classify", songs[0], *asked[:2], "--url", triton.grpc).stdout.split("\t")[6:8] == ["ok", ""]


def test_a_failed_file_is_a_line_on_standard_error(triton: Triton, songs: list[str], tmp_path: Path):
    long = tmp_path / f"{'long ' * 40}.mp3"
    long.write_bytes(b"x")
    done = tritone("classify", "/nowhere.mp3", songs[0], long, "--url", triton.grpc, "-o", "behave=invalid")
    assert done.returncode == 1 and done.stdout == ""
    refused = "The recording is 3 bytes of text, not audio: send WAV, FLAC, OGG, Opus, MP3 or M4A."
    assert done.stderr.splitlines() == [
        "tritone: '/nowhere.mp3' does not exist: check the path.",
        f"tritone: {songs[0]}: {refused}",
        f"tritone: {long}: {refused}",
    ]


def test_a_small_folder_is_classified_and_a_large_one_is_for_bulk(
    triton: Triton, songs: list[str], tmp_path: Path
):
    (tmp_path / "notes.txt").write_text("no recording")
    done = tritone("classify", tmp_path, "--url", triton.grpc)
    assert done.returncode == 0 and sorted(line.split("\t")[0] for line in done.stdout.splitlines()) == songs
    for number in range(95):
        (tmp_path / f"{number}.wav").write_bytes(b"x")
    for command in ("classify", "emotion"):
        done = tritone(command, tmp_path, "--url", triton.grpc, env=os.environ | {"COLUMNS": "300"})
        assert done.returncode == 2 and done.stdout == ""
        assert "has more than 100 recordings: use tritone bulk" in done.stderr
    (tmp_path / "empty").mkdir()
    done = tritone("classify", tmp_path / "empty", "--url", triton.grpc)
    assert done.returncode == 1 and "contains no recordings" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("flag", ["--system", "--model", "-m"])
def test_a_system_by_each_of_its_flags(triton: Triton, songs: list[str], flag: str):
    for command in (("classify", songs[0], "-k", "2"), ("emotion", songs[0])):
        done = tritone(*command, flag, "nowhere", "--url", triton.grpc)
        assert done.returncode == 1 and "has no model 'nowhere'" in done.stderr
    done = tritone("classify", songs[0], "-k", "2", flag, "musicnn_msd", "--json", "--url", triton.grpc)
    assert json.loads(done.stdout)["echo"]["options"]["top_k"] == 2


def test_standard_input(triton: Triton):
    done = tritone("classify", "-", "--json", "--url", triton.grpc, input="seven b")
    assert json.loads(done.stdout)["echo"]["audio_bytes"] == 7


def test_settings_from_the_environment(triton: Triton, songs: list[str]):
    environment = os.environ | {"TRITONE_URL": triton.http, "TRITONE_TOP_K": "1", "TRITONE_HEADER": "x-team:audio"}
    done = tritone("classify", songs[0], "--json", env=environment)
    assert json.loads(done.stdout)["echo"]["options"] == {"top_k": 1}


@pytest.mark.parametrize("command", [["classify", "song.mp3"], ["models"], ["health"]])
def test_no_server_is_one_line_at_once(command: list[str]):
    port = free_ports(1)[0]
    start = time.monotonic()
    done = tritone(*command, "--url", f"127.0.0.1:{port}", "--timeout", "20")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("tritone: No server can be reached at grpc://")
    assert time.monotonic() - start < 5


def test_models_and_health(triton: Triton):
    for url in (triton.grpc, triton.http):
        table = tritone("models", "--url", url).stdout
        assert [line.split() for line in table.splitlines()] == [
            ["system", "state", "version", "platform", "command", "labels"],
            ["emotion2vec_plus_large", "ready", "1", "emotion*", "9"],
            ["musicnn_msd", "ready", "1", "classify", "4"],
            ["narrow", "ready", "1", "classify", "4"],
            ["vgg19_bn_cqt", "ready", "1", "classify*", "4"],
            ["*", "The", "command", "asks", "this", "system", "by", "default."],
        ]
    listed = [
        json.loads(line)["name"] for line in tritone("models", "--json", "--url", triton.grpc).stdout.splitlines()
    ]
    assert listed == ["emotion2vec_plus_large", "musicnn_msd", "narrow", "vgg19_bn_cqt"]
    done = tritone("health", "--url", triton.http)
    assert done.returncode == 0 and done.stdout.count("ready") == 5
    triton.post("narrow/unload")
    try:
        done = tritone("health", "--url", triton.http)
        assert done.returncode == 1 and "not ready  system narrow" in done.stdout
    finally:
        triton.post("narrow/load")


def in_terminal(*arguments: str, cwd: Path | None = None, **environment: str) -> str:
    """Return what the command prints in a pseudo terminal; the environment has no NO_COLOR unless given."""
    near, far = pty.openpty()
    settings = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    settings |= {"TERM": "xterm-256color"} | environment
    process = subprocess.Popen([TRITONE, *arguments], stdout=far, stderr=far, env=settings, cwd=cwd)
    assert process.wait(30) == 0
    os.close(far)
    shown = os.read(near, 100_000).decode()
    os.close(near)
    return shown


@pytest.mark.parametrize("columns", [50, 80, 119, 120, 140])
def test_a_terminal_of_any_width(triton: Triton, songs: list[str], columns: int):
    """In a real terminal: colours, aligned rows, no line beyond its width, and all that was asked for."""
    asked = ("-o", "uncertainty=entropy", "-o", "voting=majority")
    folder, files = Path(songs[0]).parent, [Path(song).name for song in songs[:3]]
    (folder / ("long " * 30)).write_bytes(b"x")
    shown = in_terminal(
        "classify", *files, "long " * 30, *asked, "--url", triton.grpc, COLUMNS=str(columns), cwd=folder
    )
    lines = [Text.from_ansi(line) for line in shown.splitlines()]
    assert "\x1b[" in shown and all(line.cell_len <= columns for line in lines)
    rows = [line.plain for line in lines if "Opera 戏曲" in line.plain]
    assert len(rows) == 4 and len({row.index("Opera") for row in rows}) == 1
    assert all(" 50%" in row and "2 of 2" in row for row in rows)
    assert columns < 80 or all(name in row for name, row in zip(files, rows, strict=False))
    text = " ".join(" ".join(line.plain for line in lines).split())
    for wanted in ("Solo 25%, Symphony 12%", "entropy 0.25 ≤ 0.70", "75% of the slices agree"):
        assert text.count(wanted) == 4, wanted


def test_rows_are_shown_as_they_come_and_stay_after_ctrl_c(triton: Triton, songs: list[str]):
    """With a line on standard error for the file that is awaited, and the advice to use `tritone bulk`."""
    slow = json.dumps({"slices": [[1, 0, 0, 0]]})
    Path(songs[0]).write_text(slow)
    near, far = pty.openpty()
    process = subprocess.Popen(
        [TRITONE, "classify", *songs, "--url", triton.grpc, "-o", "behave=slow", "-o", "seconds=1.5"],
        **{"stdout": far, "stderr": far, "env": os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"}},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(far)
    shown = b""
    while b"2 of 6, song [1].mp3: 0.6 s" not in shown and b"Symphony" not in shown:
        shown += os.read(near, 4096)
    assert b"1 of 6, song [0].mp3: 0." in shown and process.poll() is None
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # the end of a pseudo terminal
        while more := os.read(near, 4096):
            shown += more
    os.close(near)
    assert process.wait(20) == 130
    text = shown.decode()
    assert "Symphony" in text and "demo weights" in text
    assert re.search(r"tritone: Interrupted after [1-4] of 6 files. `tritone bulk` can be interrupted", text)


@pytest.mark.parametrize("command", ["models", "health", "classify"])
def test_no_color_prints_no_colours(triton: Triton, songs: list[str], command: str):
    """Codes of the 8, 16 and 256 colours and of RGB, for text and background (https://no-color.org)."""
    colour = re.compile(r"\x1b\[(?:[\d;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")
    arguments = [command, *(songs[:2] if command == "classify" else []), "--url", triton.grpc]
    coloured, plain = in_terminal(*arguments), in_terminal(*arguments, NO_COLOR="1")
    assert colour.search(coloured)
    assert not colour.search(plain)
    for shown in (coloured, plain):
        assert ("Opera" if command == "classify" else "vgg19_bn_cqt") in shown


def test_the_help_of_each_command_is_complete():
    """`tritone -h` cuts a command's first line beyond 55 characters, and ends it in dots."""
    lines = tritone("-h", env=os.environ | {"COLUMNS": "80", "TERM": "dumb"}).stdout.splitlines()
    listed = dict(line.split(None, 1) for line in lines[lines.index("Commands:") + 1 :] if line.startswith("  "))
    listed.pop("The")  # the epilog
    commands = ["classify", "emotion", "models", "health", "bulk", "similar", "evaluate", "calibrate", "stats"]
    assert list(listed) == [*commands, "timing", "web"]
    for command, line in listed.items():
        assert line.endswith(".") and not line.endswith("...") and len(line) <= 55, command


def test_an_interruption_ends_it_at_once(triton: Triton, songs: list[str]):
    command = [TRITONE, "classify", *songs * 1000, "--json", "--url", triton.http]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job in the background of a shell is born deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout and (process.stdout.readline() or process.communicate(timeout=60)[1] == "")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert len(stdout.splitlines()) < len(songs) * 500  # of a thousand times as many
    assert process.returncode not in (0, None) and "Traceback" not in stderr


def test_an_interruption_while_a_lock_changes_hands(triton: Triton, songs: list[str]):
    """Where a waiting future has given its lock back and not yet taken the next one: as bad as a moment can be."""
    program = f"""
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
release = threading.Condition._release_save
def interrupted(condition):
    saved = release(condition)
    if threading.current_thread() is threading.main_thread():
        threading.Condition._release_save = release
        os.kill(os.getpid(), signal.SIGINT)
    return saved
threading.Condition._release_save = interrupted
sys.argv = ["tritone", "classify", *{songs!r}, "--json", "--url", {triton.http!r}]
from tritone_client.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert re.fullmatch(r"tritone: Interrupted after \d of 6 files\. .*\n", done.stderr)
    assert len(done.stdout.splitlines()) < len(songs)
