"""The model repository: what is exported and known in it, and which files are whole and of the present weights."""

import json

import pytest

from systems import SYSTEMS
from systems.own import own_system
from systems.repository import Repository, export_command
from systems.variants import CUDA, OPENVINO, OPENVINO_INT8, PORTABLE, TENSORRT, TENSORRT_RTX
from tests.support import tiny
from tests.support.own import LABELS, LIKE, write_manifest

FILES = {
    "fp16": "model.fp16.onnx",
    "int8": "model.int8.onnx",
    "explain": "../../tiny_explain/1/model.onnx",
    "plan": "model.plan",
    "rtx_plan": "model.rtx.plan",
}
RECORDS = {"plan": "plan.json", "rtx_plan": "plan.rtx.json"}
"""Of the others it is the manifest."""
every = pytest.mark.parametrize("kind", FILES)


@pytest.fixture
def path(tmp_path):
    """A repository with the tiny system, of which everything has been made."""
    tiny.write_repository(tmp_path)
    folder = tmp_path / "tiny_network/1"
    made = {"bytes": 4, "made_from": {"sha256": tiny.sha256(tmp_path)}}
    for file in FILES.values():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"made")
    tiny.declare(tmp_path, **{kind: made | {"file": FILES[kind]} for kind in FILES.keys() - RECORDS.keys()})
    for record in RECORDS.values():
        (folder / record).write_text(json.dumps(made))
    return tmp_path


def network(path):
    """As who asks anew."""
    return Repository(path).network("tiny")


def rewrite(file, **entries):
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def test_a_repository_s_own_systems_are_known_by_their_manifests(tmp_path):
    write_manifest(tmp_path, system="mine", like="vgg19_bn_cqt", **LABELS.manifest())
    write_manifest(tmp_path, system="broken", like="no_such", **LABELS.manifest())
    write_manifest(tmp_path, system="vit_b_16_mel", **LABELS.manifest())
    write_manifest(tmp_path, system="other_format", like="vgg19_bn_cqt", **LABELS.manifest() | {"format": 2})
    (tmp_path / "damaged_network/1").mkdir(parents=True)
    (tmp_path / "damaged_network/1/manifest.json").write_text("{")
    known = Repository(tmp_path).known(SYSTEMS)
    assert known == SYSTEMS | {"mine": own_system(LIKE, "mine", LABELS)}
    assert own_system(SYSTEMS["vgg19_bn_mel"], "mine", LABELS).by_default
    assert known["mine"].task is LIKE.task and known["mine"].labels == LABELS and known["mine"].like == LIKE.name


def test_a_manifest_that_comes_or_goes_while_systems_are_listed_is_not_known(tmp_path):
    repository = Repository(tmp_path)
    assert repository.network("mine").manifest is None
    write_manifest(tmp_path, system="mine", like="vgg19_bn_cqt", **LABELS.manifest())
    assert repository.known(SYSTEMS) == SYSTEMS


def test_exported_are_those_with_a_network_and_a_manifest(path):
    for system, missing in (
        ("b", None),
        ("no_manifest", "manifest.json"),
        ("no_network", "model.onnx"),
        ("a", None),
    ):
        tiny.write_network(path / f"{system}_network/1/model.onnx")
        tiny.declare(path, system)
        if missing:
            (path / f"{system}_network/1" / missing).unlink()
    assert Repository(path).systems() == ["a", "b", "tiny"]
    assert Repository(path).configured() == ["tiny"]
    assert Repository(path / "nowhere").systems() == []


def test_a_file_is_read_once(path):
    repository = Repository(path)
    assert repository.network("tiny").why_not is None and repository.network("tiny").plan.is_current
    (path / "tiny_network/1/manifest.json").unlink()
    (path / "tiny_network/1/plan.json").unlink()
    assert repository.network("tiny").why_not is None and repository.network("tiny").plan.is_current
    assert (
        network(path).why_not
        == f"tiny has no weights ({path}/tiny_network/1/manifest.json is missing): run make export"
    )


@every
@pytest.mark.parametrize("fault", ["missing", "cut", "of other weights", "no record"])
def test_a_file_that_is_incomplete_or_of_other_weights_is_not_current(path, kind, fault, monkeypatch):
    folder, record = path / "tiny_network/1", RECORDS.get(kind, "manifest.json")
    assert getattr(network(path), kind).why_not is None
    if fault == "missing":
        (folder / FILES[kind]).unlink()
    elif fault == "cut":
        (folder / FILES[kind]).write_bytes(b"mad")
    elif fault == "of other weights":
        rewrite(folder / "manifest.json", onnx={"sha256": "b"})
    else:
        rewrite(folder / record, **{"bytes": None, kind: None})
    what, command = {
        "fp16": ("FP16 network", "python -m export fp16 tiny"),
        "int8": ("INT8 network", "make int8"),
        "explain": ("explanation network", "make explain"),
        "plan": ("TensorRT plan", "python -m export tensorrt tiny"),
        "rtx_plan": ("TensorRT-RTX plan", "python -m export tensorrt_rtx tiny"),
    }[kind]
    product = getattr(network(path), kind)
    assert not product.is_current
    assert product.why_not == f"tiny has no {what} of its present weights in {path}: run {command}"
    monkeypatch.setenv("TRITONE_EXPORT_COMMAND", "docker compose run --rm export")
    assert export_command("fp16", "tiny") == "docker compose run --rm export tiny"


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"onnx": 3}', '{"onnx": {"bytes": 1}}'])
def test_a_manifest_that_does_not_describe_the_network_vouches_for_nothing(path, content):
    (path / "tiny_network/1/manifest.json").write_text(content)
    found = network(path)
    assert found.onnx.why_not == f"there is no exported network in {path}/tiny_network/1; run make export"
    assert not any(getattr(found, kind).is_current for kind in FILES)


@pytest.mark.parametrize(
    ("variant", "kind"),
    [
        *((PORTABLE, "onnx"), (OPENVINO, "onnx"), (OPENVINO_INT8, "int8"), (CUDA, "fp16")),
        *((TENSORRT, "plan"), (TENSORRT_RTX, "rtx_plan")),
    ],
)
def test_a_variant_serves_what_its_configuration_names(path, variant, kind):
    config = path / "tiny_network/configs" / f"{variant.name}.pbtxt"
    config.write_text(f'default_model_filename: "{variant.file}"')
    found = network(path)
    assert found.product(variant) is getattr(found, kind)
    config.write_text('default_model_filename: "model.onnx"')
    assert found.product(variant) is found.onnx


@every
def test_what_vouches_is_taken_away_and_written_anew(path, kind):
    before = json.loads((path / "tiny_network/1/manifest.json").read_text())
    product = getattr(network(path), kind)
    product.withdraw()
    assert not getattr(network(path), kind).is_current
    again = getattr(network(path), kind)
    again.record({"file": FILES[kind], "bytes": 4, "made_from": {"sha256": tiny.sha256(path)}})
    assert getattr(network(path), kind).is_current
    assert json.loads((path / "tiny_network/1/manifest.json").read_text()) == before


def test_a_network_is_withdrawn_with_all_that_was_made_of_it(path):
    (path / "tiny_network/1/model.rtx.cache").write_bytes(b"compiled")
    network(path).withdraw()
    left = {file.name for file in (path / "tiny_network/1").iterdir()}
    assert left == {"model.onnx"} and not list((path / "tiny_explain/1").iterdir())
