"""Systems of the user's own: their names, their manifests, and the command that exports them."""

import os
import re
import subprocess
import sys
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from tritone_client import Client

from export.__main__ import main
from server.embedded import embedded
from sounds import recording
from systems import SYSTEMS
from systems.own import COMMANDS, PARTS, UnusableName, check_name
from tests.support.own import LABELS, write_manifest
from tests.support.project import ROOT, read_config

PAGE = ROOT / "docs" / "systems.md"


@pytest.mark.parametrize("name", ["my_genres", "x", "a1", "g" * 64, "raw", "vgg19_bn_cqt2"])
def test_names_that_can_be_had(name):
    check_name(name, SYSTEMS)


@pytest.mark.parametrize(
    "name", ["", "My", "1a", "a b", "a/b", "..", "a.b", "ä", "g" * 65, "a-b", "a\n", *SYSTEMS]
)
def test_names_that_cannot(name):
    with pytest.raises(UnusableName):
        check_name(name, SYSTEMS)


@pytest.mark.parametrize("part", PARTS)
def test_names_of_the_parts_of_another_system(part):
    assert (ROOT / "model_repository" / f"vgg19_bn_cqt_{part}").is_dir()  # it is a part
    with pytest.raises(UnusableName, match=f"names that end in _{part} belong to"):
        check_name(f"songs_{part}", SYSTEMS)


@pytest.mark.parametrize("name", COMMANDS)
def test_names_of_the_commands_of_export(name):
    with pytest.raises(UnusableName, match=f"{name} cannot be .*: python -m export {name} is a command"):
        check_name(name, SYSTEMS)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--checkpoint my.pt", "--checkpoint needs the one system that it is like"),
        ("vgg19_bn_cqt vit_b_16_mel --checkpoint my.pt", "--checkpoint needs the one system that it is like"),
        ("vgg19_bn_cqt --labels labels.txt", "--labels and --name need --checkpoint"),
        ("vgg19_bn_cqt --name mine", "--labels and --name need --checkpoint"),
        ("vgg19_bn_cqt --checkpoint my.pt --labels labels.txt", "has 16 classes, the labels name 2: add --name"),
        ("vgg19_bn_cqt --checkpoint my.pt --labels none.txt --name mine", "none.txt cannot be read (No such file"),
        (
            "vgg19_bn_cqt --checkpoint my.pt --labels empty.txt --name mine",
            "expected the name of a class on every line",
        ),
        ("vgg19_bn_cqt --checkpoint none.pt --name mine", "there is no checkpoint none.pt"),
        ("vgg19_bn_cqt --checkpoint . --name mine", "there is no checkpoint .; looked for save.pt, save.pth,"),
        (
            "vgg19_bn_cqt --checkpoint my.pt --name vit_b_16_mel",
            "a system that comes with Tritone: choose another",
        ),
        (
            "vgg19_bn_cqt --checkpoint my.pt --name other",
            "other exists already and is like vit_b_16_mel: choose another",
        ),
        ("other --demo", "there are no demo weights for other: name yours"),
        ("other", "model.onnx is incomplete and was made from your own weights (file here): name them again"),
        ("other --hub --revision " + "0" * 40, "no repository of the hub has the weights of other"),
        ("other --hub me/mine --revision " + "0" * 40, "no repository of the hub has the weights of other"),
        (
            "nonsense",
            f"there is no system nonsense; choose from {', '.join(SYSTEMS)}, other",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_writes_nothing(
    arguments, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.pt").write_bytes(b"no checkpoint")
    (tmp_path / "labels.txt").write_text("Fado\nMorna\n")
    (tmp_path / "empty.txt").write_text("Fado\n\nMorna\n")
    repository = tmp_path / "models"
    write_manifest(repository, system="other", like="vit_b_16_mel", **LABELS.manifest())
    before = sorted(repository.rglob("*"))
    try:
        code = main([*arguments.split(), "--repository", str(repository)])
    except SystemExit as stop:
        code = stop.code
    message = capsys.readouterr().err
    assert code == 2 and sentence in message and message.count("\n") == 1
    left = {path for path in repository.rglob("*") if path not in before}
    assert all("mine" in path.name or path.name in ("1", ".lock") for path in left) and not list(
        repository.rglob("*.pbtxt")
    )


@pytest.mark.slow
def test_ten_classes_are_served_in_one_command(repository, tmp_path):
    """By the page's command: the demo weights without their last six classes, as a user's PyTorch leaves them."""
    state = load_file(ROOT / "checkpoints" / "demo" / "vgg19_bn_cqt" / "save.safetensors")
    for name in ("classifier.9.weight", "classifier.9.bias"):
        state[name] = state[name][:10].clone()
    torch.save({"state_dict": state}, tmp_path / "my.pt")
    names = [f"Genre {n}" for n in range(10)]
    (tmp_path / "labels.txt").write_text("\n".join(names) + "\n")
    models = tmp_path / "models"
    [shown] = re.findall("^python (-m export vgg19_bn_cqt --checkpoint .*)$", PAGE.read_text(), re.MULTILINE)
    command = [sys.executable, *shown.split(), f"--repository={models}"]
    run = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert "done" in run(command, env=environment).stdout
    assert "nothing to do" in run(command, env=environment).stdout
    for path in models.rglob("*.pbtxt"):
        assert read_config(path).name == path.relative_to(models).parts[0]
    assert (models / "my_genres" / ".gitignore").read_text() == "*\n"
    song = recording(7, 1)
    flags = f"--model-repository={models}", "--variant=onnxruntime"
    with embedded(*flags, log=tmp_path / "log") as server, Client(server.grpc) as client:
        found = client.classify(song, model="my_genres")
    assert list(found.labels) == names and found.label == "Genre 7" and len(found.probabilities) == 10
