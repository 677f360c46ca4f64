"""The programs that the page offers are run, against the small Triton; their answer is the page's."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tritone_client import Client
from tritone_client.web.usage import Question, panel, set_by_visitor

from tests.support.answers import genre
from tests.support.command import TRITONE

FILE = "it's a song.mp3"
SONG = json.dumps({"slices": [[0.1, 0.2, 0.6, 0.1]], "denoised": [[0.7, 0.1, 0.1, 0.1]]}).encode()
PAGE = {"denoise": None, "uncertainty": "entropy", "review_threshold": 0.7, "pictures": 1, "explain": None}
SET = {"denoise": "first", "uncertainty": "entropy", "review_threshold": 0.2}


@pytest.mark.parametrize("options", [{}, SET])
def test_each_program_runs_and_has_the_options(triton, tmp_path: Path, options):
    def run(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True).stdout

    (tmp_path / FILE).write_bytes(SONG)
    question = Question(FILE, "vgg19_bn_cqt", "classify", options, triton.grpc)
    label = "Symphony" if options else "Solo"
    with Client(triton.grpc) as client:
        assert client.classify(tmp_path / FILE, model=question.system, **options).label == label

    assert f"label='{label}'" in run(sys.executable, "-c", question.python())
    program, *arguments = shlex.split(question.command())
    record = json.loads(run(TRITONE, *arguments))
    assert (program, record["label"], record["echo"]["options"].items() >= options.items()) == (
        "tritone",
        label,
        True,
    )
    shell = question.curl().replace("http://127.0.0.1:8000", triton.http)
    answer = json.loads(run("sh", "-c", shell))
    result = json.loads(answer["outputs"][0]["data"][0]) if options else answer
    assert (result["label"], result["echo"]["audio_bytes"]) == (label, len(SONG))
    assert result["echo"]["options"] == options


def test_only_what_the_visitor_set_is_in_the_program():
    assert set_by_visitor(PAGE) == {}
    assert set_by_visitor(PAGE | {"review_threshold": 0.2}) == {"uncertainty": "entropy", "review_threshold": 0.2}
    assert set_by_visitor(PAGE | {"denoise": "first", "pictures": 2}) == {"denoise": "first", "pictures": 2}


def test_the_address_is_left_out_where_it_is_the_default():
    question = Question("a.mp3", "vgg19_bn_cqt", "emotion", {}, "grpc://127.0.0.1:8001")
    assert "Client() as" in question.python() and "--url" not in question.command()
    other = replace(question, url="grpcs://[::1]:443")
    assert "Client('grpcs://[::1]:443')" in other.python() and "https://[::1]:8000/v2/" in other.curl()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_names_and_answers_are_text(language):
    question = Question("<img src=x>.mp3", "<i>", "classify", {"<u>": "<s>"}, "grpc://127.0.0.1:8001")
    html = panel(question, genre(2, notes=["<script>"]), language)
    assert not any(tag in html for tag in ("<img", "<i>", "<u>", "<s>", "<script>"))
