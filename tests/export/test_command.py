"""What the commands of export share: how they are called, and that a failure keeps no other system from work."""

import re
import subprocess
import sys
import time

import pytest

from export import command
from export.__main__ import main
from export.errors import ExportError
from systems import SYSTEMS
from systems.own import COMMANDS
from tests.support.project import ROOT

MADE = [SYSTEMS[name] for name in ("vgg19_bn_cqt", "vit_b_16_mel", "emotion2vec_plus_large")]
NAMES = [system.name for system in MADE]


def run(work, capsys):
    code = command.run("export.x", MADE, work, "the rest is as it was")
    return code, capsys.readouterr()


def test_each_system_is_done_and_says_so(capsys):
    code, said = run(lambda system, log: log("made") or system.name != NAMES[1], capsys)
    assert code == 0 and not said.err
    assert [line.split()[0] for line in said.out.splitlines() if line.endswith("done")] == [NAMES[0], NAMES[2]]


def test_a_failure_keeps_no_other_system_from_being_made(capsys):
    def work(system, log):
        if system.name == NAMES[0]:
            raise ExportError("no weights")
        if system.name == NAMES[1]:
            raise PermissionError(13, "Permission denied", "/models/1")
        return True

    code, said = run(work, capsys)
    assert code == 2 and f"{NAMES[2]}" in said.out
    first, second = said.err.splitlines()
    assert first == "export.x: no weights"
    assert second.startswith("export.x: user ") and "may not write /models/1; " in second
    assert "TRITONE_UID" in second


def test_a_system_that_needs_pytorch_says_so_where_it_is_not_installed(capsys):
    def work(system, log):
        if system.name == NAMES[0]:
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return True

    code, said = run(work, capsys)
    assert code == 2 and f"{NAMES[2]}" in said.out
    assert said.err == f"export.x: {NAMES[0]} needs PyTorch, which is not installed: make export installs it\n"
    with pytest.raises(ModuleNotFoundError):
        command.run("export.x", MADE, lambda *_: __import__("no_such_module"), "")


def test_silent_work_repeats_what_it_does(capsys):
    with command.Progress("a", silence=0.1) as log:
        log("comparing")
        time.sleep(0.35)
    shown = capsys.readouterr().out.splitlines()
    assert [re.sub(r"a +\d\.\d s  ", "", line) for line in shown[:3]] == ["comparing", *["still comparing"] * 2]
    assert 3 <= len(shown) <= 4


def test_paths_are_shown_from_the_folder_where_the_user_is(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with command.Progress("a") as log:
        log(f"writing {tmp_path / 'models' / 'a.onnx'} from /elsewhere/b.pt")
    assert capsys.readouterr().out.endswith("s  writing models/a.onnx from /elsewhere/b.pt\n")


def test_ctrl_c_ends_it_all(capsys):
    made = []

    def work(system, log):
        made.append(system.name)
        raise KeyboardInterrupt

    code, said = run(work, capsys)
    assert (code, said.err) == (130, "export.x: interrupted; the rest is as it was\n")
    assert made == [NAMES[0]]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_first_word_chooses_the_command(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    usage = "python -m export" if name == "onnx" else f"python -m export {name}"
    assert end.value.code == 0 and capsys.readouterr().out.startswith(f"usage: {usage} [-h] ")


def test_the_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"Commands: {', '.join(COMMANDS)}. " in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "onnx"])
def test_a_former_command_line_says_what_to_type_now(name, tmp_path):
    former = [sys.executable, "-m", f"export.{name}", "vgg19_bn_cqt", "--repository", str(tmp_path / "my models")]
    done = subprocess.run(former, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    now = f"python -m export {name} vgg19_bn_cqt --repository '{tmp_path}/my models'"
    assert done.stderr == f"export: the command python -m export.{name} has moved, type: {now}\n"
