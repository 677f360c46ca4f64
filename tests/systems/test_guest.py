"""A system that this project does not declare: the one of docs/systems.md, declared in a folder of the user's.

Exported, served by the real Triton and asked in every way that a client has, without a change to any file here.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors.torch import load_file, save_file
from tritone_client import Client, InvalidRecording
from tritone_client.display.html import answer_html

import preprocess
from export.__main__ import main
from server.embedded import Embedded, embedded
from systems import SYSTEMS
from systems.own import read_declaration
from systems.profiles import FrontEnd, Profile
from systems.repository import Repository
from tests.support.project import ROOT
from tests.support.recordings import music

PAGE = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
DECLARATION = re.search(r"^```python declaration\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[1]
[COMMAND] = re.findall(r"^python -m export mood\.py .*$", PAGE, re.MULTILINE)
MOODS = ["calm", "wild", "sad"]
PROFILE = Profile(
    "mood",
    "patches",
    {"mel": FrontEnd(n_fft=512, hop_length=256, n_mels=64, scale="log")},
    sr=16000,
    shape=(1, 64, 100),
    value_range=None,
)


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")])}


@pytest.fixture(scope="module")
def guest(tmp_path_factory) -> Path:
    """A folder with a declaration, its labels and a checkpoint; exported to models/ by the page's command."""
    folder = tmp_path_factory.mktemp("guest")
    (folder / "mood.py").write_text(DECLARATION)
    (folder / "moods.txt").write_text("".join(f"{mood}\n" for mood in MOODS))
    torch.manual_seed(0)
    network = {
        "bands.weight": torch.randn(32, 64, 7) / 20,
        "bands.bias": torch.randn(32) / 10,
        "head.weight": torch.randn(3, 32),
        "head.bias": torch.randn(3),
    }
    save_file(network, folder / "mood.safetensors")
    for name, seconds in (("calm", 5.0), ("wild", 9.0)):
        (folder / "songs" / name).mkdir(parents=True)
        sf.write(folder / "songs" / name / f"{name}.wav", music(seconds, 44100, 2, seed=len(name)), 44100)
    command = [*COMMAND.split(), f"--repository={folder / 'models'}"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def server(guest, tmp_path_factory) -> Embedded:
    """The real server, which must not see the declaration."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    (guest / "mood.py").rename(guest / "hidden")
    with embedded(f"--model-repository={guest / 'models'}", "--variant=onnxruntime", log=log) as running:
        (guest / "hidden").rename(guest / "mood.py")
        yield running


def song(guest: Path) -> bytes:
    return (guest / "songs" / "wild" / "wild.wav").read_bytes()


def expected(guest: Path) -> np.ndarray:
    """Probabilities of that song, by PyTorch from the page's module: [rows, classes]."""
    scope: dict = {"__file__": str(guest / "mood.py"), "__name__": "mood"}
    exec(DECLARATION, scope)
    network = scope["Mood"](3)
    network.load_state_dict(load_file(guest / "mood.safetensors"))
    rows = preprocess.prepare(song(guest), PROFILE, spectrum="mel").rows
    with torch.inference_mode():
        return torch.sigmoid(network(torch.from_numpy(rows))).numpy()


def test_the_client_gets_what_pytorch_computes(guest, server):
    with Client(server.grpc) as grpc, Client(f"http://{server.http}") as http:
        found, again = (client.classify(song(guest), model="mood", top_k=3) for client in (grpc, http))
        assert [model.name for model in grpc.models()] == ["mood"]
    slices = expected(guest)
    assert len(slices) == 5 and list(found.labels) == MOODS
    np.testing.assert_allclose(found.slice_probabilities, slices, atol=1e-5)
    np.testing.assert_allclose(found.probabilities, slices.mean(0), atol=1e-5)
    np.testing.assert_array_equal(found.probabilities, again.probabilities)
    assert abs(sum(found.probabilities) - 1) > 0.01  # independent ones
    assert found.label == MOODS[int(slices.mean(0).argmax())] and not found.weights.demo
    assert answer_html(found, "en").count(found.label) > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"voting": "majority"}, "voting needs classes of which exactly one is right"),
        ({"temperature": 2.0}, "temperature needs classes of which exactly one is right"),
        ({"label_smoothing": 0.1}, "label_smoothing needs classes"),
        ({"uncertainty": "entropy"}, "uncertainty needs classes"),
        ({"rules": True}, "rules needs classes"),
        ({"profile": "ccmusic"}, "profile 'ccmusic' is unknown; choose one of mood"),
        ({"explain": 1}, "explain needs the network mood_explain"),
    ],
)
def test_what_makes_no_sense_for_it_is_refused(guest, server, options, sentence):
    with Client(server.grpc) as client, pytest.raises(InvalidRecording, match=sentence) as caught:
        client.classify(song(guest), model="mood", **options)
    assert caught.value.code == ("unexplained" if "explain" in options else "option")


def test_pictures_are_the_rows_of_the_network(guest, server):
    with Client(server.grpc) as client:
        [image] = client.classify(song(guest), model="mood", pictures=1).pictures
    rows = preprocess.prepare(song(guest), PROFILE, spectrum="mel").rows
    best = expected(guest)[:, expected(guest).mean(0).argmax()].argmax()
    row = rows[best, 0]
    grey = (row - row.min()) / (row.max() - row.min()) * 255
    assert image.shape == (64, 100, 3) and np.abs(image[..., 1] - grey).max() < 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("tritone classify songs/wild/wild.wav --model mood", "{best}"),
        ("tritone bulk songs --model mood --out results.jsonl", ""),
        ("tritone evaluate songs --model mood", "calm"),
        ("tritone stats --url {http} --metrics-url {metrics}", "mood"),
        ("tritone models", "mood"),
    ],
)
def test_the_command(guest, server, command, message):
    best = MOODS[int(expected(guest).mean(0).argmax())]
    command = command.format(http=f"http://{server.http}", metrics=f"http://{server.metrics}/metrics")
    variables = environment(guest) | {"TRITONE_URL": server.grpc}
    done = subprocess.run(command.split(), cwd=guest, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert message.format(best=best) in done.stdout


def test_no_temperature_is_fitted_where_more_than_one_class_can_be_right(guest, server):
    variables = environment(guest) | {"TRITONE_URL": server.grpc}
    command = ["tritone", "calibrate", "songs", "--model", "mood"]
    done = subprocess.run(command, cwd=guest, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "temperature needs classes of which exactly one is right" in " ".join(done.stderr.split())


@pytest.mark.slow
def test_networks_are_derived_of_it(guest):
    command = [sys.executable, "-m", "export", "fp16", "mood", f"--repository={guest / 'models'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((guest / "models" / "mood_network" / "1" / "manifest.json").read_text())
    assert manifest["fp16"]["agreement"] > 0.99


def test_its_manifest_says_all_that_the_declaration_did(guest):
    known = Repository(guest / "models").known(SYSTEMS)["mood"]
    declared = read_declaration(guest / "mood.py")
    for field in ("name", "about", "task", "spectrum", "profile", "labels", "activation", "declared_in"):
        assert getattr(known, field) == getattr(declared, field), field


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("{folder}/mood.py", "there are no demo weights for mood: name yours with --checkpoint"),
        ("{folder}/mood.py --demo", "there are no demo weights for mood"),
        ("{folder}/none.py --checkpoint {folder}/mood.safetensors", "there is no file"),
        ("{folder}/empty.py --checkpoint {folder}/mood.safetensors", "declares no system: it needs SYSTEM"),
        ("{folder}/wrong.py --checkpoint {folder}/mood.safetensors", "cannot be read (ZeroDivisionError:"),
        ("{folder}/taken.py --checkpoint {folder}/mood.safetensors", "a system that comes with Tritone"),
        (
            "{folder}/mood.py --checkpoint {folder}/mood.safetensors --name other",
            "names its system mood: change it",
        ),
        (
            "{folder}/mood.py --checkpoint {folder}/mood.safetensors --labels {folder}/levels.json",
            "no coarser levels",
        ),
        ("{folder}/mood.py --checkpoint {folder}/vgg.safetensors", "expected mood (vgg19_bn has"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(guest, arguments, sentence, tmp_path, capsys):
    for name, text in {
        "mood": DECLARATION,
        "empty": "",
        "wrong": "1 / 0",
        "taken": DECLARATION.replace('name="mood"', 'name="vgg19_bn_cqt"'),
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "moods.txt").write_text("a\nb\nc\n")
    levels = {"2": {"labels": ["x", "y"], "members": [0, 1, 1]}}
    (tmp_path / "levels.json").write_text(json.dumps({"labels": ["a", "b", "c"], "levels": levels}))
    (tmp_path / "mood.safetensors").write_bytes((guest / "mood.safetensors").read_bytes())
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.safetensors")
    try:
        code = main([*arguments.format(folder=tmp_path).split(), f"--repository={tmp_path / 'models'}"])
    except SystemExit as stop:
        code = stop.code
    message = capsys.readouterr().err
    assert code == 2 and sentence in message and message.count("\n") == 1
    assert not list((tmp_path / "models").rglob("*.pbtxt"))


def test_an_export_by_name_alone_says_which_file_to_name(guest, capsys):
    code = main(
        ["mood", f"--checkpoint={guest / 'mood.safetensors'}", f"--repository={guest / 'models'}", "--force"]
    )
    assert code == 2 and "mood is declared in mood.py: name that file instead" in capsys.readouterr().err
