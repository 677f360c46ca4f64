"""What FP16 and INT8 networks share: when they are current, what vouches for them, how answers are compared."""

import hashlib
import json
import os
import signal

import numpy as np
import pytest

from export import derived
from export.errors import ExportError
from systems import SYSTEMS

FILE = "model.other.onnx"


@pytest.fixture
def folder(tmp_path):
    """A float network and its manifest, as the export leaves them."""
    content = b"a float network"
    (tmp_path / "model.onnx").write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "onnx": {"file": "model.onnx"} | entry}))
    return tmp_path


def replace(folder, network=b"another"):
    derived.replace(derived.read_manifest(folder), "other", FILE, network, method=3, agreement=1.0)


def is_current(folder, method=3):
    return derived.is_current(derived.read_manifest(folder), "other", method)


def test_the_manifest_describes_what_was_made_and_keeps_the_rest(folder):
    before = derived.read_manifest(folder).content
    assert not is_current(folder)
    replace(folder)
    manifest = derived.read_manifest(folder).content
    made = manifest.pop("other")
    assert manifest == before
    assert made == {
        "file": FILE,
        "sha256": hashlib.sha256(b"another").hexdigest(),
        "bytes": 7,
        "made_from": {key: before["onnx"][key] for key in ("sha256", "bytes")},
        "method": 3,
        "agreement": 1.0,
    }
    assert is_current(folder)


def test_what_is_cut_short_made_otherwise_or_of_other_weights_is_not_current(folder):
    replace(folder)
    assert not is_current(folder, method=4)
    (folder / FILE).write_bytes(b"cut")
    assert not is_current(folder)
    replace(folder)
    manifest = derived.read_manifest(folder)
    manifest.content["onnx"]["sha256"] = "of other weights"
    manifest.write()
    assert not is_current(folder)
    replace(folder)
    assert is_current(folder)
    (folder / FILE).unlink()
    assert not is_current(folder)


def test_killed_before_the_manifest_nothing_vouches_for_the_file(folder, monkeypatch):
    replace(folder)
    monkeypatch.setattr(derived, "sha256", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    child = os.fork()
    if child == 0:
        replace(folder, b"a newer one")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert "other" not in derived.read_manifest(folder).content


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"onnx": {"file": "model.onnx", "bytes": 3}}'])
def test_without_a_whole_float_network_nothing_is_made(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(ExportError, match=f"there is no exported network in {folder}; run make export"):
        derived.read_manifest(folder)


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


def test_labels_that_change_places_in_a_tie_are_not_clear_changes():
    expected = np.log(np.array([[0.504, 0.496], [0.507, 0.493], [0.2, 0.8], [0.9, 0.1]], np.float32))
    found = expected[:, ::-1]
    assert derived.clear_changes(expected, found, 0.01) == 3
    assert derived.clear_changes(expected, found, 0.1) == 2
    assert derived.clear_changes(expected, expected + 7, 0.01) == 0
