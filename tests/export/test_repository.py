"""The exported networks, what the manifest says of them, and exports that are interrupted."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

import preprocess
from export import checkpoint, inputs, onnx_export
from export.__main__ import main
from export.errors import ExportError
from export.files import exclusive
from export.repository import export
from export.sources import Directory, Weights
from sounds import sound
from systems import SYSTEMS
from systems.files import atomically
from systems.label_set import label_set
from systems.repository import Repository
from systems.version import __version__
from tests.support.exported import state
from tests.support.project import ROOT
from tests.support.project import SYSTEMS as GENRES

both = pytest.mark.parametrize("system", [SYSTEMS[name] for name in GENRES], ids=GENRES)


def read_manifest(repository, system):
    return json.loads((repository / f"{system.name}_network" / "1" / "manifest.json").read_text())


@both
def test_manifest_describes_the_files(system, repository):
    folder, manifest = repository / f"{system.name}_network", read_manifest(repository, system)
    model = (folder / "1" / "model.onnx").read_bytes()
    assert manifest["onnx"]["sha256"] == hashlib.sha256(model).hexdigest()
    assert manifest["onnx"]["bytes"] == len(model)
    assert (folder / "labels.txt").read_text().splitlines() == [label["en"] for label in manifest["labels"]]
    assert manifest["labels"][15] == {"en": "Acoustic pop", "zh": "原声流行"}
    assert [len(level["labels"]) for level in manifest["levels"]] == [9, 2]
    assert manifest["demo"] is True
    assert str(ROOT) not in json.dumps(manifest)
    assert {path.name for path in (folder / "1").iterdir()} - {".gitkeep"} == {"manifest.json", "model.onnx"}


@both
def test_demo_weights_recognise_new_sounds(system, repository):
    """What the manifest claims for each profile, and again on excerpts that no fit has seen."""
    held_out = read_manifest(repository, system)["held_out"]
    assert held_out["rows"] == 48
    assert min(held_out["by_profile"].values()) >= 0.9
    session = onnxruntime.InferenceSession(str(repository / f"{system.name}_network" / "1" / "model.onnx"))
    rows = [
        preprocess.prepare((sound(f, 3000, seconds=12), 22050), "ccmusic", spectrum=system.spectrum).rows[0]
        for f in range(16)
    ]
    logits = np.concatenate([session.run(None, {"ROWS": part})[0] for part in np.split(np.stack(rows), 4)])
    assert (logits.argmax(1) == np.arange(16)).mean() >= 0.9
    powers = np.exp(logits)
    assert 0.6 < np.median(powers.max(1) / powers.sum(1)) < 0.99


@both
def test_graph(system, repository):
    proto = onnx.load(repository / f"{system.name}_network" / "1" / "model.onnx")
    assert proto.ir_version <= 10
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node), "may name folders"
    assert {opset.domain: opset.version for opset in proto.opset_import}[""] == 18
    (rows,), (logits,) = proto.graph.input, proto.graph.output
    assert (rows.name, logits.name) == ("ROWS", "LOGITS")
    shape = [dim.dim_param or dim.dim_value for dim in rows.type.tensor_type.shape.dim]
    assert isinstance(shape[0], str)
    assert shape[1:] == [3, 224, 224]
    ops = {node.op_type for node in proto.graph.node}
    assert not ops & {"Dropout", "BatchNormalization"}
    assert ("LayerNormalization" in ops) == (system.architecture.name == "vit_b_16")


@both
def test_any_batch_gives_the_same_rows(system, repository):
    session = onnxruntime.InferenceSession(str(repository / f"{system.name}_network" / "1" / "model.onnx"))
    rows = np.random.default_rng(0).uniform(-1, 1, (5, 3, 224, 224)).astype(np.float32)
    together = session.run(None, {"ROWS": rows})[0]
    assert together.shape == (5, 16)
    for i in (0, 4):
        np.testing.assert_allclose(session.run(None, {"ROWS": rows[i : i + 1]})[0][0], together[i], atol=1e-3)


def test_second_export_does_nothing_and_needs_no_pytorch(repository):
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*") if path.is_file()}
    code = "import sys; from export.__main__ import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    arguments = [*GENRES, "--demo", "--repository", str(repository)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.count("nothing to do") == 2
    assert done.stdout.splitlines()[-1] == "False"
    assert before == {path: path.stat().st_mtime_ns for path in repository.rglob("*") if path.is_file()}


# Below, the slow parts of an export are replaced: what is tested is the order of its writes.

SYSTEM = SYSTEMS["vgg19_bn_cqt"]
NETWORK = f"{SYSTEM.name}_network"


class Source:
    """Weights that are never read."""

    def __init__(self, sha256):
        self.sha256 = sha256

    def get(self, system, log):
        source = {"origin": "directory", "location": "d", "file": "f", "revision": None, "sha256": self.sha256}
        return Weights(ROOT, label_set("ccmusic"), source)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(checkpoint, "store_weights", lambda *_: None)
    monkeypatch.setattr(checkpoint, "load_model", lambda *_: None)
    monkeypatch.setattr(onnx_export, "logits", lambda *_: np.zeros((1, 16)))
    monkeypatch.setattr(onnx_export, "to_onnx", lambda _, __, path: path.write_bytes(b"network"))
    monkeypatch.setattr(onnx_export, "parity", lambda *_: {"max_probability_difference": 0.0})
    monkeypatch.setattr(inputs, "example_row", lambda *_: [np.zeros((1, 3, 224, 224), np.float32)])


def run(source, repository, force=False):
    return export(SYSTEM, source, repository, force=force, log=lambda _: None)


def in_child(work):
    """Run `work` in a forked process; the signal that ended it."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_new_manifest_has_the_version_and_an_old_one_without_it_stays_valid(quick, tmp_path):
    assert run(Source("a"), tmp_path)
    manifest = Repository(tmp_path).network(SYSTEM.name).manifest
    assert manifest.content["versions"].pop("tritone") == __version__
    manifest.write()
    assert Repository(tmp_path).network(SYSTEM.name).why_not is None
    assert not run(Source("a"), tmp_path)


def test_export_is_repeated_only_where_something_changed(quick, tmp_path):
    assert run(Source("a"), tmp_path)
    assert not run(Source("a"), tmp_path)
    assert run(Source("a"), tmp_path, force=True)
    assert run(Source("b"), tmp_path)
    model = tmp_path / f"{SYSTEM.name}_network" / "1" / "model.onnx"
    model.write_bytes(b"cut")
    assert run(Source("b"), tmp_path)
    model.unlink()
    assert run(Source("b"), tmp_path)
    (tmp_path / f"{SYSTEM.name}_network" / "labels.txt").unlink()
    assert run(Source("b"), tmp_path)


@pytest.mark.parametrize(
    "file",
    ["model.int8.onnx", "model.fp16.onnx", "plan.json", "model.plan", f"../../{SYSTEM.name}_explain/1/model.onnx"],
)
def test_a_new_network_takes_away_what_was_made_of_the_old(quick, tmp_path, file):
    run(Source("a"), tmp_path)
    derived = tmp_path / f"{SYSTEM.name}_network" / "1" / file
    derived.parent.mkdir(parents=True, exist_ok=True)
    derived.write_bytes(b"made of the network before")
    assert not run(Source("a"), tmp_path)
    assert derived.exists()
    run(Source("b"), tmp_path)
    assert not derived.exists()


def test_killed_while_writing_keeps_the_old_network(quick, monkeypatch, tmp_path):
    run(Source("a"), tmp_path)
    before = state(tmp_path / NETWORK)

    def die(_, __, path):
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(onnx_export, "to_onnx", die)
        assert in_child(lambda: run(Source("b"), tmp_path)) == -signal.SIGKILL
    after = state(tmp_path / NETWORK)
    assert {name: after[name] for name in before} == before
    assert run(Source("b"), tmp_path), "and neither the lock nor the rest of the file is in the way"
    assert state(tmp_path / NETWORK).keys() == before.keys()


def test_killed_between_the_files_leaves_no_manifest(quick, monkeypatch, tmp_path):
    run(Source("a"), tmp_path)
    monkeypatch.setattr("export.repository.sha256", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    assert in_child(lambda: run(Source("b"), tmp_path)) == -signal.SIGKILL
    assert state(tmp_path / NETWORK).keys() == {"1/model.onnx", "labels.txt"}
    assert Repository(tmp_path).systems() == []


def test_failed_parity_keeps_the_old_network(quick, monkeypatch, tmp_path):
    run(Source("a"), tmp_path)
    before = state(tmp_path / NETWORK)

    def differ(*_):
        raise ExportError("differs")

    monkeypatch.setattr(onnx_export, "parity", differ)
    with pytest.raises(ExportError):
        run(Source("b"), tmp_path)
    assert state(tmp_path / NETWORK) == before


def test_parity_refuses_another_function(repository):
    path = repository / f"{SYSTEM.name}_network" / "1" / "model.onnx"
    rows = np.random.default_rng(0).uniform(-1, 1, (8, 3, 224, 224)).astype(np.float32)
    logits = onnxruntime.InferenceSession(str(path)).run(None, {"ROWS": rows})[0]
    graph = onnx_export.graph_of(SYSTEMS["vgg19_bn_cqt"])
    assert onnx_export.parity(path, graph, [rows], logits)["max_probability_difference"] < 1e-4
    with pytest.raises(ExportError, match="differs from PyTorch"):
        onnx_export.parity(path, graph, [rows], logits + np.eye(8, 16, dtype=np.float32))


def test_only_one_export_at_a_time(tmp_path):
    with exclusive(tmp_path), pytest.raises(ExportError, match="another export"), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


def test_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), atomically(tmp_path / "a") as partial:
        partial.write_bytes(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_directory_names_what_was_looked_for(tmp_path):
    with pytest.raises(ExportError, match=r"looked for vgg19_bn_cqt/save\.pt, .*vgg19_bn_cqt\.safetensors"):
        Directory(tmp_path).get(SYSTEM, print)


@pytest.mark.parametrize("name", ["vgg19_bn_cqt/save.pt", "vgg19_bn_cqt/save.pth", "vgg19_bn_cqt.safetensors"])
def test_directory_finds_the_checkpoint(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"weights")
    weights = Directory(tmp_path).get(SYSTEM, print)
    assert weights.source == {
        "origin": "directory",
        "location": tmp_path.name,
        "file": name,
        "revision": None,
        "sha256": hashlib.sha256(b"weights").hexdigest(),
    }


def test_labels_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / SYSTEM.name).mkdir()
    (tmp_path / SYSTEM.name / "save.pt").write_bytes(b"weights")
    (tmp_path / SYSTEM.name / "labels.json").write_text("[1]")
    with pytest.raises(ExportError, match=r"labels\.json: expected one of"):
        Directory(tmp_path).get(SYSTEM, print)


def test_labels_beside_the_checkpoint(tmp_path):
    (tmp_path / SYSTEM.name).mkdir()
    (tmp_path / SYSTEM.name / "save.pt").write_bytes(b"weights")
    (tmp_path / SYSTEM.name / "labels.json").write_text('"acousticsense"')
    labels = Directory(tmp_path).get(SYSTEM, print).labels
    assert labels == label_set("acousticsense")
    assert labels.manifest()["levels"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "there is no system nonsense; choose from "),
        (["onnx", "nonsense"], "there is no system nonsense; choose from "),
        (["--force", "fp16"], "fp16 is a command and must come first: python -m export fp16 SYSTEM ..."),
        (["fp16", "onnx"], "onnx is a command and must come first: python -m export onnx SYSTEM ..."),
        (["--hub"], "needs --revision"),
        (["--hub", "--revision", "main"], "not 'main'"),
        (["--hub", "vgg19_bn_cqt", "--revision", "0" * 40], "owner/name, not 'vgg19_bn_cqt'"),
        (["--revision", "0" * 40], "--revision needs --hub"),
        (["--verify"], "--verify needs --hub"),
        (["--verify", "--demo"], "--verify needs --hub"),
        (["vgg19_bn_cqt", "--checkpoints", "/nowhere"], "no weights for vgg19_bn_cqt in /nowhere"),
        (["--demo", "--hub"], "not allowed with"),
        (["--other"], "unrecognized arguments"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments, message, tmp_path, capsys):
    try:
        code = main([*arguments, "--repository", str(tmp_path / "models")])
    except SystemExit as error:
        code = error.code
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_environment_names_the_checkpoints(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CHECKPOINTS", str(tmp_path))
    assert main([SYSTEM.name, "--repository", str(tmp_path / "models")]) == 2
    assert f"in {tmp_path}" in capsys.readouterr().err


@pytest.fixture
def own_weights(tmp_path):
    """A system with weights of the user's own, as the export leaves them; its folder."""
    folder = tmp_path / f"{SYSTEM.name}_network" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"network")
    source = {"origin": "directory", "location": "mine"}
    manifest = {"demo": False, "source": source, "onnx": {"bytes": 7}} | SYSTEM.labels.manifest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder.parent / "labels.txt").write_text("mine\n")
    return folder


@pytest.mark.parametrize("missing", [False, True])
def test_weights_of_ones_own_stay_unless_others_are_asked_for(own_weights, tmp_path, capsys, missing):
    """And labels.txt is written again where it is missing: the manifest has the classes."""
    labels = own_weights.parent / "labels.txt"
    if missing:
        labels.unlink()
    before = (own_weights / "manifest.json").stat().st_mtime_ns
    assert main([SYSTEM.name, "--repository", str(tmp_path)]) == 0
    assert "your own weights (directory mine); --demo replaces them" in capsys.readouterr().out
    assert (own_weights / "manifest.json").stat().st_mtime_ns == before
    assert labels.read_text().splitlines() == ([each.en for each in SYSTEM.labels.labels] if missing else ["mine"])


def test_weights_of_ones_own_that_are_not_whole_are_not_replaced_by_demo_weights(own_weights, tmp_path, capsys):
    (own_weights / "model.onnx").write_bytes(b"half")
    assert main([SYSTEM.name, "--repository", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "model.onnx is incomplete and was made from your own weights (directory mine): name them again" in error
    assert error.count("\n") == 1 and (own_weights / "model.onnx").read_bytes() == b"half"


def test_another_number_of_classes_than_is_served_is_refused(tmp_path):
    (tmp_path / SYSTEM.name).mkdir()
    (tmp_path / SYSTEM.name / "save.pt").write_bytes(b"weights")
    (tmp_path / SYSTEM.name / "labels.json").write_text('["Folk", "Metal"]')
    with pytest.raises(
        ExportError, match=r"has 16 classes, the labels name 2; export these weights under another name"
    ):
        run(Directory(tmp_path), tmp_path / "models")
