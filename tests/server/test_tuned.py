"""Tuned configurations: which count, what the launcher says of them, and what it then serves."""

import json
import shutil
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format

from server import tuned
from server.tuned import Note, local_file, this_machine
from systems.repository import Repository
from tests.support import tiny
from tests.support.project import ROOT
from tuning.knobs import read_knobs, read_shipped, turn

HERE, DAY = "CPU A, 4 cores", "2026-11-21"


def usable(repository: Path, *arguments) -> tuple[bool, str]:
    return tuned.usable(Repository(repository), *arguments)


def keep(repository: Path, *arguments) -> list[str]:
    return tuned.store(Repository(repository), *arguments)


@pytest.fixture
def repository(tmp_path) -> Path:
    """`tiny`, and a second system of which only the configurations matter."""
    folder = tiny.write_repository(tmp_path / "models")
    for step in tuned.STEPS:
        shutil.copytree(folder / f"tiny_{step}", folder / f"other_{step}")
    return folder


def texts(repository: Path, variant: str) -> dict[str, str]:
    """Configurations of `tiny` as make tune writes them, with three preprocess instances."""
    shipped = read_shipped(Repository(repository), "tiny", variant)
    turned = turn(shipped, replace(read_knobs(shipped, cores=2), preprocess=3), cores=2)
    return {step: text_format.MessageToString(config) for step, config in turned.items()}


def local_files(repository: Path) -> set[str]:
    return {path.parts[-3] for path in repository.glob("*/configs/local.pbtxt")}


def keep_tiny(repository: Path, variant: str = "openvino", machine: str = HERE, gain: float = 1.12) -> list[str]:
    return keep(repository, "tiny", variant, machine, DAY, gain, texts(repository, variant))


def test_tuned_settings_count_where_they_were_made(repository):
    assert usable(repository, ["tiny", "other"], "openvino", HERE) == (False, "")
    assert keep_tiny(repository) == []
    assert usable(repository, ["tiny"], "openvino", HERE) == (
        True,
        "tiny as tuned on 2026-11-21: 1.12 times the shipped throughput",
    )
    counts, said = usable(repository, ["other", "tiny"], "openvino", HERE)
    assert counts and said.startswith("other as shipped, tiny as tuned on")
    assert usable(repository, ["other"], "openvino", HERE) == (False, "")  # nothing to gain there


def test_every_system_gets_a_configuration_because_triton_takes_one_name_for_all(repository):
    keep_tiny(repository)
    assert local_files(repository) == {"tiny_preprocess", "tiny_network", "other_preprocess", "other_network"}
    copy = local_file(repository / "other_network").read_text()
    assert copy.partition("\n")[2] == (repository / "other_network/configs/openvino.pbtxt").read_text()
    assert "count: 3" in local_file(repository / "tiny_preprocess").read_text()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            "machine",
            r"tiny_preprocess was tuned on another machine \(CPU A, 4 cores; this one is CPU B, 4 cores\)",
        ),
        ("variant", "tiny_preprocess was tuned for variant openvino"),
        ("older", "tiny_network was tuned for an older configuration"),
        ("older copy", "other_preprocess was tuned for an older configuration"),
        ("missing", "other_network has no tuned configuration"),
        ("by hand", "make tune did not write the configuration of tiny_network"),
    ],
)
def test_what_does_not_count_is_ignored_and_said(repository, fault, sentence):
    keep_tiny(repository)
    machine, variant = HERE, "openvino"
    if fault == "machine":
        machine = "CPU B, 4 cores"
    elif fault == "variant":
        variant = "onnxruntime"
    elif fault == "older":
        (repository / "tiny_network/configs/openvino.pbtxt").write_text("new")
    elif fault == "older copy":
        (repository / "other_preprocess/config.pbtxt").write_text("new")
    elif fault == "missing":
        local_file(repository / "other_network").unlink()
    else:
        local_file(repository / "tiny_network").write_text('name: "tiny_network"\n')
    counts, said = usable(repository, ["tiny", "other"], variant, machine)
    assert not counts
    assert said.count("\n") == 0
    with pytest.raises(AssertionError, match=rf"^configs/local.pbtxt is ignored: {sentence}; make tune writes"):
        raise AssertionError(said)


def test_where_nothing_was_gained_nothing_stays(repository):
    keep_tiny(repository)
    assert keep(repository, "tiny", "openvino", HERE, DAY) == []
    assert local_files(repository) == set()


def test_the_settings_of_another_system_stay_while_they_count(repository):
    keep_tiny(repository)
    assert keep(repository, "other", "openvino", HERE, DAY) == []
    assert Note.read(local_file(repository / "tiny_network")).gain == 1.12
    assert keep(repository, "other", "onnxruntime", HERE, DAY) == ["tiny"]  # they were made for openvino
    assert local_files(repository) == set()
    assert keep_tiny(repository, machine="CPU B, 4 cores") == []
    assert keep(repository, "other", "openvino", HERE, DAY, 1.5, texts(repository, "openvino")) == ["tiny"]
    assert Note.read(local_file(repository / "tiny_network")).gain is None
    assert usable(repository, ["other", "tiny"], "openvino", HERE)[0]


def test_the_note_is_a_comment_and_complete(repository):
    keep_tiny(repository)
    first = local_file(repository / "tiny_network").read_text().splitlines()[0]
    note = Note.read(local_file(repository / "tiny_network"))
    assert first.startswith("# ") and json.loads(first[2:])["machine"] == HERE
    assert replace(note, shipped="") == Note(HERE, "openvino", DAY, 1.12, "")


def test_this_machine_is_named_by_processor_and_cores():
    assert this_machine().endswith(" cores") and len(this_machine()) > len("64 cores, ")


def test_git_ignores_them():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    path = "model_repository/vgg19_bn_cqt_network/configs/local.pbtxt"
    assert subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("variant", ["onnxruntime", "openvino"])
def test_the_launcher_serves_them_and_says_so(launch, tiny_repository, variant):
    keep_tiny(tiny_repository, variant, this_machine())
    launcher = launch(f"--variant={variant}").until_ready()
    assert "tritone: tiny as tuned on 2026-11-21: 1.12 times the shipped throughput\n" in launcher.log
    assert len(launcher.stubs("tiny_preprocess")) == 3
    with urllib.request.urlopen(f"{launcher.http}/v2/models/tiny_network/config") as answer:
        assert json.load(answer)["backend"] == variant
    assert launcher.classify(tiny.wav(2))["sum"] == pytest.approx(tiny.expected(2), rel=1e-2)
    assert json.loads(launcher.ready_file.read_text())["tuned"] is True


@pytest.mark.parametrize("flag", ["--tuned=yes", "--tuned=no"])
def test_the_launcher_serves_the_shipped_ones_where_they_do_not_count(launch, tiny_repository, flag):
    keep_tiny(tiny_repository, "onnxruntime", HERE if flag == "--tuned=yes" else this_machine())
    launcher = launch(flag).until_ready()
    assert ("is ignored: tiny_preprocess was tuned on another machine" in launcher.log) == (flag == "--tuned=yes")
    assert "tiny as tuned" not in launcher.log
    assert len(launcher.stubs("tiny_preprocess")) == 2
    assert json.loads(launcher.ready_file.read_text())["tuned"] is False
