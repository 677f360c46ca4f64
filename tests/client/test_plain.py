"""What reaches a terminal: nothing that it obeys, and nothing that reads otherwise than it is written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tritone_client import errors
from tritone_client.bulk.progress import print_lines
from tritone_client.plain import formatted, json_text, plain

from tests.support import answers
from tests.support.triton import Triton

# ESC, C0, DEL, C1 (CSI in one character), line separator, marks of direction, half a letter.
MARKS = list("\x1b\x00\r\n\t\x7f\x9b\u2028\u202a\u202e\u2066\u2069\u200e\u200f\u061c\udce9")


def test_marks_are_written_out():
    assert plain("歌 é 😀 a\u200db.mp3") == "歌 é 😀 a\u200db.mp3"
    assert plain("\x1b[2J\u202emp3.exe") == r"\u001b[2J\u202emp3.exe"
    assert not any(mark in plain("".join(MARKS)) for mark in MARKS)
    assert (formatted(0.5, ".0%"), formatted("\x1b", ".0%"), formatted(None, ".0%")) == ("50%", r"\u001b", "None")


def test_json_means_the_same():
    value = {mark: [mark] for mark in MARKS}
    for layout in ({}, {"indent": 1}):
        text = json_text(value, **layout)
        assert json.loads(text) == value and not any(mark in text.replace("\n", "") for mark in MARKS)


@pytest.mark.parametrize("mark", MARKS)
def test_tables_and_lines(mark: str, capsys: pytest.CaptureFixture):
    """Of a name, a note, a label, a sentence: at most the line ends and tabs that are ours."""
    name = f"a{mark}b"
    labels = {"top": [{"label": "Opera", "label_zh": name, "probability": 0.5}]}
    answer = answers.genre(3, notes=[name], model=name, vote={"label": name, "share": 1}, **labels)
    printed = [answers.printed(each, name) for each in (answer, errors.InferenceFailed(name))]
    printed.append(answers.printed(answers.emotion(emotion_zh=name, notes=[name]), name))
    for text in printed:
        assert f"a\\u{ord(mark):04x}b" in text and not (mark not in "\n\t" and mark in text)
        assert name not in text
    print_lines(name, name)
    assert capsys.readouterr().err == f"a\\u{ord(mark):04x}b\n" * 2


def test_commands_print_no_mark_of_a_name(triton: Triton, tmp_path: Path):
    """The whole way, on the standard output and the standard error."""
    song = tmp_path / "a\x1b[31m\u202e\x9b.mp3"
    song.write_bytes(b"not really a song")
    gone = f"{tmp_path}/gone\x1b]0;\x07.mp3"
    code = "from tritone_client.cli import main; main()"
    calls = [["classify", str(song), gone], ["classify", "--json", str(song), gone]]
    calls.append(["bulk", gone, "--out", str(tmp_path / "out.csv")])
    for call in calls:
        command = [sys.executable, "-c", code, *call, "--url", triton.grpc]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60)
        said = done.stdout + done.stderr
        assert r"gone\u001b]0;" in said.replace("\n", ""), said
        assert not any(mark in said for mark in ("\x1b", "\u202e", "\x9b", "\x07"))
