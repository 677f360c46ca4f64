"""The networks against the tables of their layouts and against independent formulations."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from export.checkpoint import build
from export.heads import released_head
from export.vgg import VGG19BN
from export.vit import EncoderBlock, SelfAttention, ViTB16
from systems.architectures import VGG19_BN, VIT_B_16
from tests.support.checkpoints import CONVOLUTIONS, random_state, vgg_shapes, vit_shapes


@pytest.mark.parametrize(
    ("module", "sizes", "shapes", "tensors", "payload"),
    [
        (VGG19BN, (25088, 3958, 629, 100, 16), vgg_shapes(3958, 629, 100, 16), 120, 487_614_084),
        (ViTB16, (768, 289, 110, 42, 16), vit_shapes(289, 110, 42, 16), 158, 344_232_588),
    ],
)
def test_released_layout(module, sizes, shapes, tensors, payload):
    with torch.device("meta"):
        state = module(released_head(sizes)).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == shapes
    assert len(state) == tensors
    assert sum(value.numel() * value.element_size() for value in state.values()) == payload


def test_vgg_equals_functional_recomputation(small_vgg):
    rows = torch.randn(2, 3, 224, 224)
    x = rows
    for i in range(53):
        if i in CONVOLUTIONS:
            x = F.conv2d(x, small_vgg[f"features.{i}.weight"], small_vgg[f"features.{i}.bias"], padding=1)
            mean, var, gamma, beta = (
                small_vgg[f"features.{i + 1}.{name}"][:, None, None]
                for name in ("running_mean", "running_var", "weight", "bias")
            )
            x = torch.relu((x - mean) / torch.sqrt(var + 1e-5) * gamma + beta)
        elif i in (6, 13, 26, 39, 52):
            x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1))
    x = F.adaptive_avg_pool2d(x, 7).flatten(1)
    for i in (1, 4, 7, 9):
        x = x @ small_vgg[f"classifier.{i}.weight"].T + small_vgg[f"classifier.{i}.bias"]
        x = x if i == 9 else x.relu()
    model = build(small_vgg, VGG19_BN, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(rows), x, rtol=1e-4, atol=1e-4)


def test_attention_equals_multihead_attention():
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(64, 4, batch_first=True).eval()
    nn.init.normal_(reference.in_proj_bias)
    ours = SelfAttention(64, 4)
    ours.load_state_dict(reference.state_dict())
    x = torch.randn(2, 9, 64)
    with torch.no_grad():
        expected, weights = reference(x, x, x, average_attn_weights=False)
        found, attention = ours(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(attention, weights)


def reference_layer(hidden: int, heads: int, mlp: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        hidden, heads, mlp, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).eval()


def renamed(block: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename: torchvision's names of a block -> those of nn.TransformerEncoderLayer."""
    names = {
        "ln_1": "norm1",
        "ln_2": "norm2",
        "self_attention": "self_attn",
        "mlp.0": "linear1",
        "mlp.3": "linear2",
    }
    return {
        next(name.replace(a, b) for a, b in names.items() if name.startswith(a)): value
        for name, value in block.items()
    }


def test_block_equals_transformer_encoder_layer():
    torch.manual_seed(0)
    block, reference = EncoderBlock(64, 4, 96).eval(), reference_layer(64, 4, 96)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    reference.load_state_dict(renamed(block.state_dict()))
    x = torch.randn(2, 9, 64)
    with torch.no_grad():
        torch.testing.assert_close(block(x), reference(x), rtol=1e-4, atol=1e-5)


def test_vit_equals_transformer_encoder_on_unfolded_patches():
    state = random_state(vit_shapes(10, 8, 6, 16))
    rows = torch.randn(2, 3, 224, 224)
    patches = F.unfold(rows, 16, stride=16).transpose(1, 2) @ state["conv_proj.weight"].flatten(1).T
    tokens = torch.cat([state["class_token"].expand(2, -1, -1), patches + state["conv_proj.bias"]], 1)
    x = tokens + state["encoder.pos_embedding"]
    with torch.no_grad():
        for i in range(12):
            layer, prefix = reference_layer(768, 12, 3072), f"encoder.layers.encoder_layer_{i}."
            layer.load_state_dict(
                renamed({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})
            )
            x = layer(x)
        x = F.layer_norm(x[:, 0], (768,), state["encoder.ln.weight"], state["encoder.ln.bias"], 1e-6)
        for i in (1, 4, 7, 9):
            x = F.linear(x, state[f"heads.head.{i}.weight"], state[f"heads.head.{i}.bias"])
            x = x if i == 9 else x.relu()
        torch.testing.assert_close(build(state, VIT_B_16, 16)(rows), x, rtol=1e-3, atol=1e-3)


def test_head_sizes_follow_the_released_rule():
    """The sizes 3958/629/100 and 289/110/42 are floor(q * next), q = (n_in / classes) ** (1/4)."""
    for n_in, sizes in ((25088, (3958, 629, 100)), (768, (289, 110, 42))):
        q = (n_in / 16) ** 0.25
        l1 = math.floor(q * 16)
        l2 = math.floor(q * l1)
        assert (math.floor(q * l2), l2, l1) == sizes
