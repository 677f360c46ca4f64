"""Networks that explain: their maps against PyTorch (autograd, whole matrices), and when they are made."""

import json
import shutil
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from export import explain, onnx_export, vgg, vit
from export.heads import released_head, torchvision_vgg_head
from systems import SYSTEMS
from tests.support.explanations import grad_cam, roll_out
from tests.support.exported import declare, entry

SYSTEM = SYSTEMS["vgg19_bn_cqt"]
CLASSES = 6
SILENT = 5
"""A class whose logit nothing in the picture changes."""


def prepared(model: nn.Module, last: nn.Linear) -> nn.Module:
    """With weights that keep the scale of what passes, and a class whose logit is constant."""
    generator = torch.Generator().manual_seed(3)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2, generator=generator)
        elif value.is_floating_point():
            value.normal_(generator=generator)
            value.mul_((2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.2)
            if value.ndim == 1 and name.endswith("weight"):
                value.add_(1)  # of a norm
    last.weight.data[SILENT] = 0
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["released", "torchvision"])
def small_vgg(request, tmp_path_factory):
    """A VGG of few channels with either head, and its exported network."""
    n_in = 8 * 7 * 7
    head = {
        "released": partial(released_head, (n_in, 20, 12, 9, CLASSES)),
        "torchvision": partial(torchvision_vgg_head, (n_in, 20, 12, CLASSES)),
    }[request.param]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "STAGES", ((4, 1), (4, 1), (6, 1), (8, 1), (8, 2)))
        model = prepared(vgg.VGG19BN(head), head[-1])
    return model, exported(model, tmp_path_factory.mktemp("vgg"))


@pytest.fixture(scope="module")
def small_vit(tmp_path_factory):
    """A ViT of three narrow blocks, and its exported network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vit, "HIDDEN", 24)
        patch.setattr(vit, "LAYERS", 3)
        patch.setattr(vit, "EncoderBlock", partial(vit.EncoderBlock, 24, 4, 32))
        head = nn.Linear(24, CLASSES)
        model = prepared(vit.ViTB16(head), head)
    return model, exported(model, tmp_path_factory.mktemp("vit"))


def exported(model: nn.Module, folder):
    onnx_export.to_onnx(model, onnx_export.graph_of(SYSTEMS["vgg19_bn_cqt"]), folder / "model.onnx")
    return folder / "model.onnx"


def pictures(n: int) -> np.ndarray:
    noise = np.random.default_rng(1).uniform(-1, 1, (n, 3, 224, 224))
    return (np.cumsum(noise, axis=-1) / 8).clip(-1, 1).astype(np.float32)


def maps(network: onnx.ModelProto, rows: np.ndarray, classes: list[int]) -> np.ndarray:
    session = onnxruntime.InferenceSession(network.SerializeToString())
    assert [tensor.name for tensor in session.get_inputs()] == ["ROWS", "CLASS"]
    (found,) = session.run(None, {"ROWS": rows, "CLASS": np.array(classes, np.int64)[:, None]})
    return found


def test_grad_cam_equals_autograd(small_vgg):
    model, path = small_vgg
    rows, classes = pictures(4), [0, 3, 1, 2]
    network = explain.grad_cam(onnx.load(path))
    found, expected = maps(network, rows, classes), grad_cam(model, rows, classes)
    assert found.shape == (4, 14, 14) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found.min(axis=(1, 2)) == 0).all() and (found.max(axis=(1, 2)) == 1).all()
    assert np.abs(maps(network, rows, [4, 0, 3, 1]) - found).max() > 0.1, "another class, another map"


def test_the_map_is_zero_where_nothing_speaks_for_the_class(small_vgg):
    found = maps(explain.grad_cam(onnx.load(small_vgg[1])), pictures(2), [SILENT, 0])
    assert not found[0].any() and found[1].any()


def test_roll_out_equals_the_product_of_whole_matrices(small_vit):
    model, path = small_vit
    rows = pictures(3)
    network = explain.roll_out(onnx.load(path))
    found = maps(network, rows, [0, 1, 2])
    assert found.shape == (3, 14, 14) and found.dtype == np.float32
    np.testing.assert_allclose(found, roll_out(model, rows), atol=1e-4)
    np.testing.assert_array_equal(maps(network, rows, [2, 2, 2]), found)
    np.testing.assert_allclose(maps(network, rows[:1], [0]), found[:1], atol=1e-5)


def test_what_does_not_explain_is_left_out(small_vit):
    network = explain.roll_out(onnx.load(small_vit[1]))
    names = {tensor.name for tensor in network.graph.initializer}
    assert "encoder.layers.encoder_layer_2.self_attention.in_proj_bias" in names
    assert not any(name.startswith(("heads", "encoder.layers.encoder_layer_2.mlp")) for name in names)
    assert (network.opset_import[0].version, network.ir_version) == (onnx_export.OPSET, onnx_export.IR_VERSION)


@pytest.fixture
def repository(small_vgg, tmp_path):
    """A repository with an exported VGG."""
    folder = tmp_path / f"{SYSTEM.name}_network" / "1"
    folder.mkdir(parents=True)
    shutil.copy(small_vgg[1], folder / "model.onnx")
    declare(folder, system=SYSTEM.name)
    return tmp_path


def run(repository, force: bool = False) -> bool:
    return explain.export(SYSTEM, repository, force=force, log=lambda _: None)


def test_it_is_made_once_beside_the_network_and_of_its_weights(repository):
    folder = repository / f"{SYSTEM.name}_network" / "1"
    assert run(repository)
    made = repository / f"{SYSTEM.name}_explain" / "1" / "model.onnx"
    onnx.checker.check_model(onnx.load(made))
    manifest = json.loads((folder / "manifest.json").read_text())
    described = manifest["explain"]
    assert described["file"] == f"../../{SYSTEM.name}_explain/1/model.onnx"
    assert described["bytes"] == made.stat().st_size
    assert described["made_from"] == entry(folder / "model.onnx")
    assert not run(repository)
    assert run(repository, force=True)
    made.unlink()
    assert run(repository)
    network = (folder / "model.onnx").read_bytes() + b"\x08\x0a"  # the field ir_version once more: other bytes
    (folder / "model.onnx").write_bytes(network)
    declare(folder, system=SYSTEM.name, explain=described)
    assert run(repository), "of other weights"


def test_without_an_exported_network_there_is_one_sentence(tmp_path, capsys):
    assert explain.main([SYSTEM.name, f"--repository={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "there is no exported network in" in error and error.endswith("run make export\n")
    assert error.count("\n") == 1
