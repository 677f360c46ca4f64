"""What the commands of export share: one system's failure is told and keeps no other from being made."""

from export import command
from export.errors import ExportError
from systems import SYSTEMS

MADE = [system for system in SYSTEMS.values() if system.by_default]
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
    assert second.startswith("export.x: /models/1 may not be written by user ") and "TRITONE_UID" in second


def test_ctrl_c_ends_it_all(capsys):
    made = []

    def work(system, log):
        made.append(system.name)
        raise KeyboardInterrupt

    code, said = run(work, capsys)
    assert (code, said.err) == (130, "export.x: interrupted; the rest is as it was\n")
    assert made == [NAMES[0]]
