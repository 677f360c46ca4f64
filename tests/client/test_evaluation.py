"""`evaluate`, `calibrate` and their commands against a Triton whose recordings say what they are taken for."""

import csv
import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import log_loss
from tritone_client import (
    Client,
    InvalidLabels,
    InvalidRecording,
    UnknownModel,
    calibrate,
    evaluate,
    read_labelled,
)
from tritone_client.errors import OutputFailed
from tritone_client.evaluation.calibrate import manifest_path, store_calibration, without_unused
from tritone_client.evaluation.evaluate import letters
from tritone_client.evaluation.metrics import fit_temperature

from tests.support.command import tritone
from tests.support.triton import Triton, free_ports

LABELS = ("Symphony", "Opera", "Solo", "Chamber")
CLEAN = {"off": {}, "clean": {"denoise": "quietest", "uncertainty": "variation_ratio", "review_threshold": 0.35}}
Write = Callable[..., Path]


def sure(label: str, probability: float = 0.7) -> list[float]:
    """One slice's probabilities, the label's this and the others' equal."""
    return [probability if name == label else (1 - probability) / 3 for name in LABELS]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write labelled recordings, (label, group, content), and the CSV file that lists them."""

    def write(*recordings: tuple[str, str, dict[str, Any]]) -> Path:
        with (tmp_path / "labels.csv").open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(("file", "label", "group"))
            for i, (label, group, content) in enumerate(recordings):
                (tmp_path / f"{i}.mp3").write_text(json.dumps(content))
                rows.writerow((f"{i}.mp3", label, group))
        return tmp_path / "labels.csv"

    return write


@pytest.fixture
def table(write: Write) -> Path:
    """Five recordings: right, right if denoised, never right though third, refused, and right by two slices."""
    return write(
        ("Opera", "clean", {"slices": [sure("Opera")]}),
        ("独奏", "noise", {"slices": [sure("Opera")], "denoised": [sure("Solo")]}),
        ("chamber", "noise", {"slices": [[0.4, 0.3, 0.1, 0.2]]}),
        ("Opera", "noise", {"broken": True}),
        ("Solo", "clean", {"slices": [sure("Solo", 0.9), sure("Solo", 0.5)]}),
    )


def test_sets_of_options_side_by_side(client: Client, table: Path):
    found = evaluate(client, read_labelled(table), CLEAN)
    off, clean = found["off"], found["clean"]
    assert (off.overall.recordings, off.overall.failed) == (5, 1)
    assert (off.overall.top1, off.overall.top3) == (0.4, 0.8)  # a tie at the second place is in label order
    assert (clean.overall.top1, clean.overall.top3) == (0.6, 0.8)
    assert list(off.groups) == ["clean", "noise"]
    assert (off.groups["clean"].top1, off.groups["noise"].top1, clean.groups["noise"].top1) == (1, 0, 1 / 3)
    # Confidences 0.7, 0.7, 0.4 and 0.7; of those of 0.7 two are right.
    assert off.overall.ece == pytest.approx((abs(2 - 3 * 0.7) + 0.4) / 4, abs=1e-6)
    given = [sure("Opera"), sure("Opera"), [0.4, 0.3, 0.1, 0.2], sure("Solo")]
    expected = log_loss([1, 2, 3, 2], given, labels=range(4))
    assert off.overall.nll == pytest.approx(expected, abs=1e-6)
    assert off.overall.review is off.overall.top1_sure is None
    assert (clean.overall.review, clean.overall.top1_sure) == (0.25, 1.0)  # 0.4 is too little
    assert 0 < off.overall.seconds < 5
    assert off.labels == list(LABELS)
    assert off.confusion == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]]
    assert list(off.classes) == list(LABELS)
    assert (off.classes["Opera"].recall, off.classes["Opera"].precision, off.classes["Opera"].support) == (
        0.5,
        0.5,
        2,
    )
    assert off.classes["Symphony"].support == 0
    failed = off.outcomes[3]
    assert failed.error == "The recording is cut off." and failed.label is failed.rank is failed.seconds is None
    assert [outcome.rank for outcome in off.outcomes] == [1, 3, 3, None, 1]
    assert off.outcomes[1].truth == "Solo" and off.weights.demo
    assert json.loads(json.dumps(clean.to_dict()))["options"] == CLEAN["clean"]


def test_each_recording_is_asked_with_all_sets_before_the_next(client: Client, table: Path, monkeypatch):
    infer, seen = client._transport.infer, []

    def watched(request: Any, timeout: float) -> Any:
        seen.append((request.inputs["AUDIO"][0], "denoise" in json.loads(request.inputs["OPTIONS"][0])))
        return infer(request, timeout)

    monkeypatch.setattr(client._transport, "infer", watched)
    evaluate(client, read_labelled(table), CLEAN, at_once=1)
    files = [item.file.read_bytes() for item in read_labelled(table)]
    assert seen[2:] == [(file, clean) for file in files for clean in (False, True)]


def test_it_works_in_any_thread(client: Client, table: Path):
    """Python lets only the main thread say what Ctrl-C does."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(evaluate, client, read_labelled(table), {"off": {}}).result()
    assert found["off"].overall.top1 == 0.4


def test_emotions(client: Client, tmp_path: Path):
    for name, data in {"happy/a.wav": bytes([3]), "sad/b.wav": bytes([3, 6, 6]), "sad/c.wav": b"\xff"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = evaluate(client, read_labelled(tmp_path), {"off": {}}, "emotion2vec_plus_large")["off"]
    assert found.overall.top1 == pytest.approx(2 / 3) and found.groups == {}
    assert found.overall.failed == 1 and found.outcomes[2].error == "The recording is silent."
    assert found.classes["sad"].recall == 0.5 and len(found.labels) == 9
    assert found.outcomes[0].true_probability == pytest.approx(0.6)


def test_what_would_spoil_every_call_is_told_first(client: Client, table: Path, write: Write):
    labelled = read_labelled(table)
    with pytest.raises(InvalidRecording, match=r"^OPTIONS: denoise must be null, 'quietest' or 'first'\.$"):
        evaluate(client, labelled, {"off": {}, "typo": {"denoise": "quiet"}})
    with pytest.raises(InvalidRecording, match="'model' is an argument"):
        evaluate(client, labelled, {"off": {"model": "x"}})
    with pytest.raises(UnknownModel, match="has no model 'nope'"):
        evaluate(client, labelled, {"off": {}}, "nope")
    with pytest.raises(UnknownModel, match="'vgg19_bn_cqt_raw' takes no recordings"):
        evaluate(client, labelled, {"off": {}}, "vgg19_bn_cqt_raw")
    for nothing in ([labelled, {}], [[], {"off": {}}]):
        with pytest.raises(InvalidLabels, match="give at least one"):
            evaluate(client, *nothing)
    broken = write(("Opera", "", {"broken": True}))
    with pytest.raises(InvalidRecording, match="cut off"):
        evaluate(client, read_labelled(broken), {"off": {}})
    unknown = write(("Opera", "", {"slices": [sure("Opera")]}), ("Polka", "", {"slices": [sure("Opera")]}))
    known = "has Symphony 交响乐, Opera 戏曲, Solo 独奏, Chamber 室内乐"
    with pytest.raises(InvalidLabels, match=rf"^'Polka', the label of '.*1\.mp3', is not .*, which {known}\.$"):
        evaluate(client, read_labelled(unknown), {"off": {}})
    assert client.classify(b"x").label == "Opera"  # the client is open still


@pytest.fixture
def overconfident(write: Write) -> Path:
    """40 recordings, 32 of them right, one that is refused, and all with 0.97 in every slice."""
    right = [(label, "", {"slices": [sure(label, 0.97)] * 2}) for label in LABELS for _ in range(8)]
    wrong = [(label, "", {"slices": [sure(LABELS[i - 1], 0.97)]}) for i, label in enumerate(LABELS) for _ in "12"]
    return write(*right, *wrong, ("Solo", "", {"broken": True}))


def test_a_temperature_is_fitted_and_the_server_then_answers_with_it(client: Client, overconfident: Path):
    labelled = read_labelled(overconfident)
    found = calibrate(client, labelled)
    # Right is 0.8 of the answers: the temperature that makes their confidence that, of 0.97 and 0.01.
    expected = np.log(0.97 / 0.01) / np.log(0.8 / (0.2 / 3))
    assert found.fitted.temperature == pytest.approx(expected, rel=1e-3)
    assert found.fitted.recordings == 40 and found.held_out.recordings == 20
    assert found.fitted.ece == (pytest.approx(0.17, abs=1e-5), pytest.approx(0, abs=1e-3))
    assert found.fitted.nll[0] > found.fitted.nll[1] and found.held_out.nll[0] > found.held_out.nll[1]
    assert list(found.failed.values()) == ["The recording is cut off."] and found.weights.sha256 == "00ff"
    # What the server makes of that temperature is what was promised.
    served = evaluate(client, labelled, {"off": {}, "fitted": {"temperature": found.fitted.temperature}})
    for i, name in enumerate(("off", "fitted")):
        assert served[name].overall.nll == pytest.approx(found.fitted.nll[i], abs=1e-4)
        assert served[name].overall.ece == pytest.approx(found.fitted.ece[i], abs=1e-4)


def test_each_half_has_as_many_of_every_label(client: Client, write: Write):
    """Recordings of a label are all alike here: so are then the halves, however they were drawn."""
    given = {"Symphony": [0.97], "Opera": [0.8], "Solo": [0.1], "Chamber": [0.4]}
    rows = [(label, "", {"slices": [sure(label, *p)]}) for label, p in given.items() for _ in range(4)]
    found = calibrate(client, read_labelled(write(*rows)), options={"denoise": "first"})
    assert found.options == {"denoise": "first"}
    assert found.held_out.temperature == pytest.approx(found.fitted.temperature, rel=1e-4)
    assert found.held_out.recordings == 8
    assert found.held_out.nll[0] == pytest.approx(-np.mean(np.log(list(given.values()))), abs=1e-5)


def test_emotions_are_calibrated_too(client: Client, tmp_path: Path):
    for name, data in {"happy": bytes([3]), "sad": bytes([3, 6, 6]), "angry": b"\xff"}.items():
        (tmp_path / name).mkdir()
        for i in range(8):
            (tmp_path / name / f"{i}.wav").write_bytes(data if i else bytes([4]))
    found = calibrate(client, read_labelled(tmp_path), "emotion2vec_plus_large")
    assert found.fitted.recordings == 17 and len(found.failed) == 7  # the silent ones
    assert found.fitted.nll[1] < found.fitted.nll[0]


def test_labels_without_a_logit_do_not_move_the_temperature():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (400, 4))
    truth = [int(rng.choice(4, p=np.exp(row) / np.exp(row).sum())) for row in logits]
    sharp = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
    plain = [row[None].astype(np.float32) for row in sharp]
    padded = [np.insert(row, [0, 2, 4], 0, axis=1) for row in plain]
    rows, classes = without_unused(padded, [[1, 2, 4, 5][c] for c in truth])
    assert fit_temperature(rows, classes) == pytest.approx(fit_temperature(plain, truth), rel=1e-6)
    assert fit_temperature(plain, truth) == pytest.approx(3, rel=0.15)
    assert without_unused([np.float32([[0, 1, 0]])], [2])[1] == [1]  # a true label stays, whatever it was given


def test_what_a_temperature_cannot_be_fitted_on(client: Client, table: Path, overconfident: Path):
    with pytest.raises(InvalidLabels, match=r"leave out the option 'voting'\.$"):
        calibrate(client, read_labelled(overconfident), options={"voting": "majority"})
    with pytest.raises(
        InvalidLabels, match=r"^Only 4 of 5 recordings were answered: a temperature needs at least 10\.$"
    ):
        calibrate(client, read_labelled(overconfident)[-5:])


MANIFEST = {"system": "vgg19_bn_cqt", "labels": [{"en": "Solo", "zh": "独奏"}], "source": {"sha256": "00ff"}}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest where a model repository has it."""
    path = tmp_path / "models" / "vgg19_bn_cqt_network" / "1" / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(MANIFEST))
    return path


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_temperature_is_stored_beside_what_is_there(client: Client, overconfident: Path, manifest: Path):
    found = calibrate(client, read_labelled(overconfident))
    for place in (manifest, manifest.parents[2]):
        assert manifest_path(place, "vgg19_bn_cqt") == manifest
    store_calibration(found, manifest)
    stored = json.loads(manifest.read_text())
    calibration = stored.pop("calibration")
    assert stored == MANIFEST and "独奏" in manifest.read_text()
    assert calibration["temperature"] == found.fitted.temperature and calibration["recordings"] == 40
    assert calibration["nll"] == list(found.fitted.nll) and calibration["ece"] == list(found.fitted.ece)
    assert calibration["held_out"]["recordings"] == 20 and calibration["options"] == {}
    assert list(manifest.parent.iterdir()) == [manifest]  # and nothing half-written
    before = manifest.stat().st_ino
    store_calibration(found, manifest)  # again
    assert manifest.stat().st_ino != before  # another file in its place: who reads has one of the two whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OutputFailed, match=r"manifest\.json' cannot be written: No space left on device\.$"):
            store_calibration(found, manifest)
    assert json.loads(manifest.read_text())["calibration"] == calibration
    assert list(manifest.parent.iterdir()) == [manifest]


def test_manifests_that_are_left_alone(client: Client, overconfident: Path, manifest: Path, write: Write):
    found = calibrate(client, read_labelled(overconfident))
    for text, message in (
        (
            json.dumps({"source": {"sha256": "1234"}}),
            r"belongs to other weights \(1234\) than those that answered \(00ff\)",
        ),
        ("{}", r"is not a manifest \(KeyError"),
        ("nonsense", r"is not a manifest \(JSONDecodeError"),
    ):
        manifest.write_text(text)
        with pytest.raises(InvalidLabels, match=message):
            store_calibration(found, manifest)
        assert manifest.read_text() == text
    with pytest.raises(InvalidLabels, match=r"There is no manifest '.*/vit_b_16_mel_network/1/manifest\.json'"):
        manifest_path(manifest.parents[2], "vit_b_16_mel")
    manifest.write_text(json.dumps(MANIFEST))
    right = write(*((label, "", {"slices": [sure(label)]}) for label in LABELS * 3))
    with pytest.raises(InvalidLabels, match=r"The temperature 0\.05 is at the limit of its range"):
        store_calibration(calibrate(client, read_labelled(right)), manifest)
    assert json.loads(manifest.read_text()) == MANIFEST


def run(url: str, *args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return tritone(*args, "--url", url, env=os.environ | {"COLUMNS": "120"} | environment)


def test_the_command_evaluate(triton: Triton, table: Path, tmp_path: Path):
    results = tmp_path / "new" / "results"
    options = f"clean={json.dumps(CLEAN['clean'])}"
    done = run(triton.grpc, "evaluate", table, "--options", options, "--output-dir", results)
    assert done.returncode == 1 and "\x1b" not in done.stdout
    text = " ".join(done.stdout.split())
    assert "ECE, expected calibration error:" in text and "NLL, negative log-likelihood:" in text
    names = ("evaluation.json", "confusion-default.png", "confusion-clean.png")
    assert done.stderr.splitlines() == [f"tritone: wrote {results / name}" for name in names]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:2] == ["5", "recordings"] and lines[0][-1] == "ms"
    assert lines[1][:3] == ["default", "40.0%", "80.0%"] and lines[2][:3] == ["clean", "60.0%", "80.0%"]
    assert lines[2][5:8] == ["25.0%", "100.0%", "1"] and len(lines[1]) == len(lines[2]) - 2
    assert ["recordings", "2", "3"] in lines and ["clean", "100.0%", "33.3%"] in lines
    assert ["Solo", "2", "0.67", "1.00"] in lines and not [line for line in lines if "Symphony" in line]
    assert done.stdout.count("The recording is cut off.") == 2 and "demo weights" in done.stdout
    written = json.loads((results / "evaluation.json").read_text())
    assert list(written) == ["default", "clean"] and written["clean"]["overall"]["top1"] == 0.6
    for name in ("default", "clean"):
        with Image.open(results / f"confusion-{name}.png") as picture:
            assert picture.format == "PNG" and min(picture.size) > 300


def test_the_command_evaluate_in_json_and_without_matplotlib(triton: Triton, write: Write, tmp_path: Path):
    table = write(("Opera", "", {"slices": [sure("Opera")]}))
    done = run(triton.http, "evaluate", table, "--json", "--at-once", 1)
    assert done.returncode == 0 and json.loads(done.stdout)["outcomes"][0]["rank"] == 1
    # As where Matplotlib is not installed: nothing finds it.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'matplotlib' else find(name, *rest)\n"
    )
    done = run(triton.grpc, "evaluate", table, "--output-dir", tmp_path / "out", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0 and "pip install 'tritone-client[plot]'" in done.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evaluation.json"]


@pytest.mark.parametrize("value", ["clean", "clean={", "a/b={}", "={}", "clean=[1]"])
def test_a_set_that_cannot_be_read(value: str, table: Path):
    done = run("127.0.0.1:1", "evaluate", table, "--options", value)
    assert done.returncode == 2 and "must have the form NAME=JSON" in done.stderr


@pytest.mark.parametrize("name", ["default", "clean"])
def test_two_sets_of_one_name(name: str, table: Path):
    done = run("127.0.0.1:1", "evaluate", table, "--options", "clean={}", "--options", f"{name}={{}}")
    assert done.returncode == 2 and f"There already is a set '{name}'" in done.stderr


def test_a_folder_may_leave_out_what_a_folder_cannot_have():
    assert letters("Soul / R&B") == letters("soul - rb") == "soulrb" and letters("灵魂乐") == "灵魂乐"


def test_no_server_is_one_line_at_once(table: Path):
    done = run(f"127.0.0.1:{free_ports(1)[0]}", "evaluate", table)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "No server can be reached" in done.stderr


def test_the_command_calibrate(triton: Triton, overconfident: Path, manifest: Path):
    done = run(triton.grpc, "calibrate", overconfident, "-o", "denoise=first")
    text = " ".join(done.stdout.split())
    assert done.returncode == 0 and done.stderr == ""
    assert "fitted on all 1.841 40 0." in text and "skipped" in text and "demo weights" in text
    assert "Nothing was stored: use --store model_repository" in text and "-o temperature=1.84," in text
    assert json.loads(manifest.read_text()) == MANIFEST
    done = run(triton.grpc, "calibrate", overconfident, "--store", manifest.parents[2], "--json")
    assert done.returncode == 0
    stored, printed = json.loads(manifest.read_text())["calibration"], json.loads(done.stdout)
    assert stored["temperature"] == printed["fitted"]["temperature"] == pytest.approx(1.841, abs=2e-3)
    done = run(triton.grpc, "calibrate", overconfident, "--store", manifest)
    assert "restart the server, then use -o temperature=fitted." in " ".join(done.stdout.split())
    done = run(triton.grpc, "calibrate", overconfident, "--store", manifest.parent)
    assert done.returncode == 1 and done.stdout == "" and "There is no manifest" in done.stderr
