"""Every way that checkpoints are found in, and every way that they can be wrong."""

import pickle
import re

import pytest
import torch
from safetensors.torch import save_file

from export.checkpoint import build, load_model, normalise, read
from export.errors import CheckpointError
from systems.architectures import VGG19_BN, VIT_B_16
from tests.support.checkpoints import linear, random_state, vgg_shapes, vit_shapes

FIRST, LAST = "features.0.weight", "classifier.9.weight"


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def load(state):
    return build(normalise(state), VGG19_BN, 16)


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
def test_formats(suffix, small_vgg, tmp_path):
    path = tmp_path / f"save.{suffix}"
    save_file(small_vgg, path) if suffix == "safetensors" else torch.save(small_vgg, path)
    model = load_model(path, VGG19_BN, 16)
    assert same(model.state_dict(), small_vgg)
    assert not model.training


def test_file_in_pytorchs_old_format(small_vgg, tmp_path):
    torch.save(small_vgg, tmp_path / "save.pt", _use_new_zipfile_serialization=False)
    assert same(read(tmp_path / "save.pt"), small_vgg)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "vgg_model.", "module.model."])
def test_wrappers_and_prefixes(wrapper, prefix, small_vgg):
    wrapped = {"epoch": 40, wrapper: {prefix + name: value for name, value in small_vgg.items()}}
    assert same(load(wrapped).state_dict(), small_vgg)
    assert same(load(wrapped[wrapper]).state_dict(), small_vgg)


def test_half_precision_is_read_as_float32(small_vgg):
    half = {name: value.half() if value.is_floating_point() else value for name, value in small_vgg.items()}
    found = load(half).state_dict()
    assert found[FIRST].dtype == torch.float32
    assert torch.equal(found[FIRST], half[FIRST].float())


def test_torchvision_heads():
    shapes = {name: shape for name, shape in vgg_shapes().items() if name.startswith("features")}
    shapes |= linear("classifier.0", 25088, 4) | linear("classifier.3", 4, 3) | linear("classifier.6", 3, 16)
    assert load(random_state(shapes)).state_dict().keys() == shapes.keys()
    shapes = vit_shapes() | linear("heads.head", 768, 16)
    assert build(random_state(shapes), VIT_B_16, 16).state_dict().keys() == shapes.keys()


def test_legacy_names_of_the_transformer():
    prefix = "encoder.layers.encoder_layer_3.mlp"
    names = normalise({f"{prefix}.linear_1.weight": torch.ones(1), f"{prefix}.linear_2.bias": torch.ones(1)})
    assert names.keys() == {f"{prefix}.0.weight", f"{prefix}.3.bias"}


def test_full_size_vit_in_a_file(tmp_path):
    state = random_state(vit_shapes(289, 110, 42, 16))
    torch.save(state, tmp_path / "save.pt")
    assert same(load_model(tmp_path / "save.pt", VIT_B_16, 16).state_dict(), state)


def test_full_size_vgg_in_a_file(tmp_path):
    state = {
        name: torch.zeros(shape, dtype=torch.int64 if name.endswith("tracked") else torch.float32)
        for name, shape in vgg_shapes(3958, 629, 100, 16).items()
    }
    torch.save(state, tmp_path / "save.pt")
    sizes = [layer.out_features for layer in load_model(tmp_path / "save.pt", VGG19_BN, 16).classifier[1::3]]
    assert sizes[:3] == [3958, 629, 100]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("features.4.bias"), "no tensor features.4.bias"),
        (lambda s: s.pop("classifier.4.weight"), "no tensor classifier.4.weight"),
        (lambda s: s.update(extra=torch.ones(1)), "an unexpected tensor extra"),
        (lambda s: s.update({f"x{i}": torch.ones(1) for i in range(5)}), "x0, x1, x2 and 2 more"),
        (lambda s: s.update({FIRST: torch.ones(64, 1, 3, 3)}), r"features.0.weight has the shape \[64, 1, 3, 3\]"),
        (
            lambda s: s.update({LAST: torch.ones(16)}),
            r"classifier.9.weight has the shape \[16\], expected a matrix",
        ),
        (lambda s: s.update({"classifier.9.bias": torch.ones(9)}), r"classifier.9.bias has the shape \[9\]"),
        (lambda s: s.update({FIRST: s[FIRST].clone().fill_(torch.nan)}), "features.0.weight holds NaN"),
        (
            lambda s: s.update({FIRST: s[FIRST].clone().fill_(torch.inf)}),
            "features.0.weight holds NaN or infinite",
        ),
        (lambda s: s.update({FIRST: s[FIRST].int()}), "features.0.weight is torch.int32"),
        (lambda s: s.pop(FIRST), "no known network, expected vgg19_bn"),
        (
            lambda s: s.update({LAST: torch.ones(9, 3), "classifier.9.bias": torch.ones(9)}),
            "9 outputs for 16 labels",
        ),
        (lambda s: s.update(note="hello"), "note is str, expected a tensor"),
    ],
)
def test_refused(change, message, small_vgg):
    state = dict(small_vgg)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        load(state)


def test_other_architecture_is_refused(small_vgg):
    with pytest.raises(CheckpointError, match="it is vgg19_bn, expected vit_b_16"):
        build(small_vgg, VIT_B_16, 16)


@pytest.mark.parametrize("content", [[torch.ones(1)], {}, {"state_dict": 3}, 5])
def test_content_that_is_no_state_dict(content):
    with pytest.raises(CheckpointError, match="expected a state dict"):
        normalise(content)


class Malicious:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_checkpoint_is_not_executed(save, small_vgg, tmp_path):
    save({"state_dict": small_vgg, "x": Malicious(str(tmp_path / "executed"))}, tmp_path / "save.pt")
    with pytest.raises(CheckpointError, match=f"{re.escape(str(tmp_path))}.*possibly code, which is never loaded"):
        load_model(tmp_path / "save.pt", VGG19_BN, 16)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("keep", [0, 10, 1000, 40_000_000])
def test_truncated_file(suffix, keep, small_vgg, tmp_path):
    path = tmp_path / f"save.{suffix}"
    save_file(small_vgg, path) if suffix == "safetensors" else torch.save(small_vgg, path)
    with open(path, "rb+") as file:
        file.truncate(keep)
    with pytest.raises(CheckpointError, match=r"save\.\w+: it (is damaged|cannot be read \(\w)"):
        load_model(path, VGG19_BN, 16)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_model(tmp_path / "save.pt", VGG19_BN, 16)
