"""The recipe of what is made of a network: when it is current, what vouches for it, how answers are compared."""

import hashlib
import json
import os
import signal

import numpy as np
import pytest

from export import derived
from export.errors import ExportError
from export.files import exclusive
from systems import SYSTEMS
from tests.support.exported import declare

SYSTEM = SYSTEMS["vgg19_bn_cqt"]
FILES = {
    "fp16": "model.fp16.onnx",
    "int8": "model.int8.onnx",
    "explain": "../../vgg19_bn_cqt_explain/1/model.onnx",
    "plan": "model.plan",
}
every = pytest.mark.parametrize("kind", FILES)


@pytest.fixture
def folder(tmp_path):
    """A float network and its manifest, as the export leaves them."""
    folder = tmp_path / "vgg19_bn_cqt_network" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"a float network")
    declare(folder)
    return folder


def derive(folder, kind, network=b"another", method=3, force=False):
    def make(_, path):
        path.write_bytes(network)
        return {"agreement": 1.0}

    describe = lambda _: {"method": method}  # noqa: E731
    repository = folder.parents[1]
    return derived.derive(SYSTEM, repository, kind, describe, make, force=force, log=lambda _: None)


def said(folder, kind):
    """What vouches for it; None where nothing does."""
    if kind == "plan":
        report = folder / "plan.json"
        return json.loads(report.read_text()) if report.exists() else None
    return json.loads((folder / "manifest.json").read_text()).get(kind)


@every
def test_what_was_made_is_described_and_the_rest_of_the_manifest_stays(folder, kind):
    before = json.loads((folder / "manifest.json").read_text())
    assert derive(folder, kind)
    assert (folder / FILES[kind]).read_bytes() == b"another"
    assert said(folder, kind) == {
        "file": FILES[kind],
        "sha256": hashlib.sha256(b"another").hexdigest(),
        "bytes": 7,
        "made_from": {key: before["onnx"][key] for key in ("sha256", "bytes")},
        "method": 3,
        "agreement": 1.0,
    }
    after = json.loads((folder / "manifest.json").read_text())
    after.pop(kind, None)
    assert after == before


@every
def test_what_is_cut_short_made_otherwise_or_of_other_weights_is_made_again(folder, kind):
    assert derive(folder, kind)
    assert not derive(folder, kind)
    assert derive(folder, kind, force=True)
    assert derive(folder, kind, method=4)
    (folder / FILES[kind]).write_bytes(b"cut")
    assert derive(folder, kind, method=4)
    (folder / FILES[kind]).unlink()
    assert derive(folder, kind, method=4)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["onnx"]["sha256"] = "of other weights"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert derive(folder, kind, method=4)
    assert not derive(folder, kind, method=4)


@every
def test_killed_before_the_end_nothing_vouches_for_the_file(folder, monkeypatch, kind):
    derive(folder, kind)
    monkeypatch.setattr(derived, "sha256", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    child = os.fork()
    if child == 0:
        derive(folder, kind, b"a newer one", force=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (folder / FILES[kind]).read_bytes() == b"a newer one"
    assert said(folder, kind) is None


@every
def test_what_is_not_good_enough_leaves_the_former_one(folder, kind):
    derive(folder, kind)
    before = said(folder, kind)

    def make(_, path):
        path.write_bytes(b"worse")
        raise ExportError("it is worse")

    with pytest.raises(ExportError, match="it is worse"):
        derived.derive(SYSTEM, folder.parents[1], kind, lambda _: {}, make, force=True, log=lambda _: None)
    assert (folder / FILES[kind]).read_bytes() == b"another" and said(folder, kind) == before
    assert not list(folder.parents[1].rglob("*.partial"))


def test_only_one_process_makes_something_of_a_network(folder):
    with exclusive(folder.parent), pytest.raises(ExportError, match="another export is writing to"):
        derive(folder, "fp16")
    assert said(folder, "fp16") is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"onnx": {"file": "model.onnx", "bytes": 3}}'])
def test_without_a_whole_float_network_nothing_is_made(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(ExportError, match=f"there is no exported network in {folder}; run make export"):
        derive(folder, "fp16")
    assert not (folder / FILES["fp16"]).exists()


def test_generated_waveforms_are_distinct_single_rows_of_every_family():
    system = SYSTEMS["emotion2vec_plus_large"]
    rows = derived.generated(system, 7, 11)
    assert all(wav.shape[0] == length.shape[0] == 1 for wav, length in rows)
    assert len({wav.tobytes() for wav, _ in rows}) == 11
    assert len({int(length[0, 0]) for _, length in rows[:9]}) == 9  # each family has its length
    np.testing.assert_array_equal(derived.generated(system, 7, 2)[1][0], rows[1][0])


def test_agreement():
    expected = np.log(np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], np.float32))
    found = np.log(np.array([[0.4, 0.6], [0.8, 0.2], [0.2, 0.8], [0.5, 0.5]], np.float32)) + 7
    figures = derived.agreement(expected, found)
    assert figures["agreement"] == 0.75
    assert figures["max_probability_difference"] == pytest.approx(0.2, abs=1e-6)
    assert figures["median_probability_difference"] == pytest.approx(0.05, abs=1e-6)


def test_agreement_of_independent_classes():
    """Every probability counts, whichever is the highest; a changed order alone is no other answer."""
    expected = np.array([[0.0, 2.0], [0.0, 2.0], [1.0, 1.001], [-3.0, 3.0]], np.float32)
    found = np.array([[1.0, 2.0], [0.5, 2.0], [1.001, 1.0], [-3.0, 3.0]], np.float32)
    figures = derived.agreement(expected, found, "sigmoid")
    assert figures["max_probability_difference"] == pytest.approx(1 / (1 + np.exp(-1)) - 0.5)
    assert figures["agreement"] == 0.5
    assert derived.agreement(expected, found)["agreement"] == 0.75
    assert derived.clear_changes(expected, found, 0.23, "sigmoid") == 1
    assert derived.clear_changes(expected, found, 0.24, "sigmoid") == 0
    assert derived.clear_changes(expected, found, 1e-5, "sigmoid") == 3


def test_labels_that_change_places_in_a_tie_are_not_clear_changes():
    expected = np.log(np.array([[0.504, 0.496], [0.507, 0.493], [0.2, 0.8], [0.9, 0.1]], np.float32))
    found = expected[:, ::-1]
    assert derived.clear_changes(expected, found, 0.01) == 3
    assert derived.clear_changes(expected, found, 0.1) == 2
    assert derived.clear_changes(expected, expected + 7, 0.01) == 0
