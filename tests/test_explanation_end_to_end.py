"""Explanations through the real Triton: the maps are those of PyTorch, and of the slices that the answer names."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tritone_client import Client, InvalidRecording

from preprocess import prepare
from server.embedded import embedded
from sounds import recording
from tests.support.explanations import grad_cam, roll_out
from tests.support.project import ROOT, SYSTEMS, UNASKED
from tests.support.reference import SPECTRUM, network

pytestmark = pytest.mark.slow
DATA = recording(5, seed=21, seconds=36.0)


@pytest.fixture(scope="module")
def explained(repository, tmp_path_factory):
    """The repository with what explains, which the other tests' servers do without."""

    def link_or_copy(source: str, target: str) -> None:
        (os.symlink if source.endswith(".onnx") else shutil.copy2)(source, target)

    target = tmp_path_factory.mktemp("explained") / "models"
    shutil.copytree(repository, target, copy_function=link_or_copy)
    command = [sys.executable, "-m", "export", "explain", f"--repository={target}", *SYSTEMS]
    subprocess.run(command, cwd=ROOT, check=True)
    return target


@pytest.fixture(scope="module")
def client(explained, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log.txt"
    flags = (f"--model-repository={explained}", "--variant=onnxruntime", UNASKED)
    with embedded(*flags, log=log) as server, Client(f"grpc://{server.grpc}", timeout=60) as client:
        yield client


@pytest.mark.parametrize("system", SYSTEMS)
def test_maps_equal_pytorch(client, system):
    plain = client.classify(DATA, model=system)
    found = client.classify(DATA, model=system, explain=2, pictures=1)
    again = client.classify(DATA, model=system, explain=2, pictures=1)  # from the response cache
    np.testing.assert_array_equal(found.probabilities, plain.probabilities)
    np.testing.assert_array_equal(found.explanation, again.explanation)
    assert plain.explanation is None and "explanation" not in plain.raw

    label = found.labels.index(found.label)
    assert list(found.explained) == np.argsort(-found.slice_probabilities[:, label], kind="stable")[:2].tolist()
    rows = prepare(DATA, "ccmusic", spectrum=SPECTRUM[system]).rows[list(found.explained)]
    assert found.pictures.dtype == np.uint8 and found.pictured == found.explained
    seen = found.pictures.transpose(0, 3, 1, 2) / np.float32(127.5) - 1
    np.testing.assert_allclose(seen, rows, atol=1e-6)
    vgg = system.startswith("vgg")
    expected = grad_cam(network(system), rows, [label] * 2) if vgg else roll_out(network(system), rows)
    np.testing.assert_allclose(found.explanation, expected, atol=1e-3)
    method = "Grad-CAM" if vgg else "attention roll-out"
    assert found.raw["explanation"] == {"method": method, "slices": list(found.explained)}


def test_more_than_there_is_explains_what_there_is(client):
    found = client.classify(DATA, model=SYSTEMS[1], profile="article-b", explain=4)
    assert found.explanation.shape == (1, 14, 14) and found.pictures.shape == (1, 224, 224, 3)
    assert (found.pictures[..., 0] == found.pictures[..., 1]).all()  # grey


def test_more_pictures_than_are_explained(client):
    found = client.classify(DATA, model=SYSTEMS[1], explain=1, pictures=3)
    assert (len(found.explanation), len(found.pictures)) == (1, 3) and found.explained == found.pictured[:1]
    np.testing.assert_array_equal(found.pictures, client.classify(DATA, model=SYSTEMS[1], pictures=3).pictures)


def test_a_server_without_what_explains_says_so(repository, tmp_path):
    flags = (f"--model-repository={repository}", "--variant=onnxruntime", "--systems=vit_b_16_mel", UNASKED)
    with (
        embedded(*flags, log=tmp_path / "log.txt") as server,
        Client(f"grpc://{server.grpc}", timeout=60) as client,
    ):
        with pytest.raises(InvalidRecording, match="explain needs the network vit_b_16_mel_explain.*make explain"):
            client.classify(DATA, model="vit_b_16_mel", explain=1)
        assert client.classify(DATA, model="vit_b_16_mel").explanation is None
