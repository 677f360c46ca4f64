"""A long command shows that it works, and its end is what the command's is."""

import sys

import pytest

from requirements.waiting import main


@pytest.mark.parametrize("code", [0, 3])
def test_a_long_command_prints_dots_and_keeps_its_exit_code(code, capsys):
    assert main([sys.executable, "-c", f"import time; time.sleep(0.5); raise SystemExit({code})"], 0.1) == code
    shown = capsys.readouterr().out
    assert shown.count(".") >= 3 and shown.endswith(" s\n")


def test_a_short_command_prints_nothing(capsys):
    assert main([sys.executable, "-c", ""], 30.0) == 0
    assert capsys.readouterr().out == ""
