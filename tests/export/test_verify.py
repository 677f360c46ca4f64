"""`--verify`: what is printed about a repository's example recordings, and that the server answers the same."""

import hashlib
import json
import re

import numpy as np
import pytest
import torch
from scipy.special import softmax
from tritone_client import Client

import preprocess
from export import onnx_export
from export.checkpoint import build
from export.errors import ExportError
from export.examples import MAX_BYTES, MAX_FILES
from export.files import sha256
from export.repository import EXPORTER
from export.verify import Network
from sounds import recording
from systems import SYSTEMS
from tests.export.hub_server import REVISION, Hub, run, serve
from tests.support import small
from tests.support.project import SPEECH
from tests.support.recordings import encode, music

SYSTEM = SYSTEMS["vgg19_bn_cqt"]
RELEASED = SYSTEM.released
BROKEN = (
    'no answer: The 6 bytes sent are not audio that can be decoded (they begin with "<html>"); send WAV, FLAC,'
    " OGG, Opus, MP3, M4A or WMA."
)
CHECKPOINT = b"It is not read where the manifest says that the network was made of it."


def come_from_hub(network):
    """Let the manifest of a network say that it was exported from the hub's checkpoint: nothing is to be done."""
    manifest, model = json.loads((network / "manifest.json").read_text()), network / "model.onnx"
    source = {"origin": "hub", "location": RELEASED.repository, "file": RELEASED.file, "revision": REVISION}
    manifest |= {
        "exporter": EXPORTER,
        "profile": SYSTEM.profile.name,
        "source": source | {"sha256": hashlib.sha256(CHECKPOINT).hexdigest()},
        "demo": False,
        "precision": "fp32",
        "onnx": {"file": model.name, "bytes": model.stat().st_size, "sha256": sha256(model)},
    }
    (network / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def models(tmp_path):
    """A repository with a small network of the genre system."""
    small.write_genre_system(tmp_path / "models")
    come_from_hub(tmp_path / "models" / f"{SYSTEM.name}_network" / "1")
    return tmp_path / "models"


def verify(models, files, *more, **hub):
    """What the command prints, and the hub, which knows what was asked of it."""
    arguments = ["-m", "export", SYSTEM.name, "--hub", "--revision", REVISION, "--verify", *more]
    with serve(Hub(CHECKPOINT, files, **hub)) as server:
        return run([*arguments, f"--repository={models}"], server.url, models.parent / "home"), server


def test_demo_network_recognises_the_sounds_that_its_classes_stand_for(repository, tmp_path):
    network = tmp_path / "models" / f"{SYSTEM.name}_network"
    (network / "1").mkdir(parents=True)
    original = repository / network.name
    (network / "1" / "model.onnx").symlink_to(original / "1" / "model.onnx")
    for file in ("labels.txt", "1/manifest.json"):
        (network / file).write_bytes((original / file).read_bytes())
    come_from_hub(network / "1")
    files = {
        "0_symphony.mp3": recording(0, 77, seconds=13),
        "Soft rock 2.WAV": recording(14, 78, seconds=4, kind="WAV"),
        "more/5.flac": recording(5, 79, seconds=25, kind="FLAC"),
        "opera.mp3": recording(3, 80, seconds=12),
        "2 solo.mp3": b"<html>",
        "mystery.mp3": recording(3, 81, seconds=1),
        "README.md": b"# Examples",
    }
    done, hub = verify(tmp_path / "models", {f"examples/{name}": content for name, content in files.items()})
    assert (done.returncode, done.stderr) == (0, "")
    first, asking, *lines = done.stdout.splitlines()[-10:]
    assert "nothing to do" in first
    assert asking.endswith(f"classifying 5 example recordings of {RELEASED.repository} at 01234567")
    cells = [re.split(" {2,}", line) for line in lines[:-1]]
    assert cells[0] == ["file", "expected", "answer", "probability", "agree"]
    assert [(line[0], line[1], line[2], line[4]) for line in cells[1:] if len(line) == 5] == [
        ("0_symphony.mp3", "Symphony", "Symphony", "yes"),
        ("more/5.flac", "Adult contemporary", "Adult contemporary", "yes"),
        ("opera.mp3", "Opera", "Chamber", "no"),
        ("Soft rock 2.WAV", "Soft rock", "Soft rock", "yes"),
    ]
    assert [line for line in cells[1:] if len(line) < 5] == [
        ["2 solo.mp3", "Solo", BROKEN],
        ["mystery.mp3", "skipped: its name does not begin with a class"],
    ]
    assert all(30 < float(line[3].removesuffix("%")) <= 100 for line in cells[1:] if len(line) == 5)
    assert lines[-1] == "3 of 4 agree, 1 does not; 1 without an answer; 1 skipped"
    assert not [path for _, path, _ in hub.requests if "resolve" in path and ("mystery" in path or ".md" in path)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Triton on small networks of both tasks, and their repository."""
    folder = tmp_path_factory.mktemp("models")
    small.write_genre_system(folder)
    small.write_speech_system(folder)
    with small.serving(folder) as running:
        yield running, folder


RECORDINGS = {
    "song": encode(music(70), 44100, "mp3"),
    "short": encode(music(1.3, sr=16000, channels=1), 16000, "wav"),
    "family": recording(9, 3, seconds=33, kind="FLAC"),
}


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("system", [SYSTEM.name, SPEECH])
def test_the_server_answers_the_same(system, name, server):
    running, folder = server
    best, probability = Network.open(SYSTEMS[system], folder).answer(RECORDINGS[name])
    with Client(running.grpc) as client:
        if system == SPEECH:
            served = client.emotion(RECORDINGS[name], model=system)
            label, p = served.emotion, served.confidence
        else:
            served = client.classify(RECORDINGS[name], model=system)
            label, p = served.label, served.probability
    labels = [label.en for label in SYSTEMS[system].labels.labels]
    assert labels[best] == label
    assert probability == pytest.approx(p, abs=1e-5)


@pytest.mark.parametrize("files", [{}, {"examples/README.md": b"none"}, {"example/0.mp3": b"another folder"}])
def test_repository_without_recordings_is_no_error(files, models):
    done, _ = verify(models, files)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].endswith(
        f"nothing to verify with: {RELEASED.repository} at 01234567 has no recordings in examples/"
    )


def test_repository_whose_recordings_are_named_otherwise_is_no_error(models):
    done, hub = verify(models, {"examples/song\x1b[2J.mp3": b"1", "examples/99.mp3": b"2"})
    assert (done.returncode, done.stderr) == (0, "")
    assert [re.split(" {2,}", line)[-1] for line in done.stdout.splitlines()[-3:]] == [
        "skipped: its name does not begin with a class",
        "skipped: its name does not begin with a class",
        "nothing was verified; 2 skipped",
    ]
    assert "\x1b" not in done.stdout and "song?[2J.mp3" in done.stdout
    assert not [path for _, path, _ in hub.requests if "/resolve/" in path and "examples" in path]


def test_what_is_too_large_or_too_much_is_not_fetched(models):
    files = {f"examples/{k % 16} {k}.mp3": b"no audio" for k in range(MAX_FILES + 3)}
    done, hub = verify(models, files, sizes={"examples/0 0.mp3": MAX_BYTES + 1})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "nothing was verified; 64 without an answer; 1 skipped; 2 more left out (limit 64)"
    skipped = [line for line in lines if "skipped: it has 67108865 bytes, more than the limit of 67108864" in line]
    assert len(skipped) == 1 and skipped[0].startswith("0 0.mp3")
    fetched = {path for method, path, _ in hub.requests if "/resolve/" in path and "/examples/" in path}
    assert len(fetched) == MAX_FILES
    assert not [path for path in fetched if path.endswith(("/0%200.mp3", "/15%2063.mp3"))]


def test_refused_listing_is_an_error_of_one_line(models):
    folder = models.parent / "home"
    verify(models, {})  # the checkpoint is in the cache
    with serve(Hub(CHECKPOINT, error=(403, "GatedRepo"))) as hub:
        arguments = ["-m", "export", SYSTEM.name, "--hub", "--revision", REVISION, "--verify"]
        done = run([*arguments, f"--repository={models}"], hub.url, folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "requires you to accept its conditions" in done.stderr
    assert "nothing to do" in done.stdout


def test_silent_speech_has_no_answer(server):
    silence = encode(np.zeros(32000, np.float32), 16000, "wav")
    with pytest.raises(preprocess.RecordingError, match="silent"):
        Network.open(SYSTEMS[SPEECH], server[1]).answer(silence)


def test_network_that_answers_nan_is_an_error(models, monkeypatch):
    monkeypatch.setattr(small, "CHANNELS", np.full_like(small.CHANNELS, np.nan))
    small.write_genre_network(models / f"{SYSTEM.name}_network" / "1" / "model.onnx")
    with pytest.raises(
        ExportError, match=r"^the network of vgg19_bn_cqt computes NaN or infinity: its checkpoint"
    ):
        Network.open(SYSTEM, models).answer(RECORDINGS["short"])


@pytest.mark.slow
def test_real_export_and_its_answers_are_those_of_pytorch(small_vgg, tmp_path):
    torch.save(small_vgg, tmp_path / "save.pt")
    sounds = {f"{family}.wav": recording(family, 5, seconds=14, kind="WAV") for family in (0, 7, 11)}
    arguments = ["-m", "export", SYSTEM.name, "--hub", "--revision", REVISION, "--verify"]
    files = {f"examples/{name}": content for name, content in sounds.items()}
    with serve(Hub((tmp_path / "save.pt").read_bytes(), files)) as hub:
        done = run([*arguments, f"--repository={tmp_path / 'models'}"], hub.url, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    model, labels = build(small_vgg, SYSTEM.architecture, 16), [label.en for label in SYSTEM.labels.labels]
    lines = [re.split(" {2,}", line) for line in done.stdout.splitlines()[-4:-1]]
    for line, (name, content) in zip(lines, sounds.items(), strict=True):
        rows = preprocess.prepare(content, SYSTEM.profile, spectrum=SYSTEM.spectrum).rows
        expected = softmax(onnx_export.logits(model, [rows]), axis=1).mean(axis=0)
        best = int(expected.argmax())
        assert line[:3] == [name, labels[int(name.removesuffix(".wav"))], labels[best]]
        assert float(line[3].removesuffix("%")) == pytest.approx(100 * expected[best], abs=0.06)
