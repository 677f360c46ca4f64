"""Emotion2Vec in its published layout, but small, with waves to give it."""

import torch
from torch.nn import functional as F

from export.emotion2vec import AUDIO, Config
from tests.support.checkpoints import Shapes, linear

TINY = Config(embed_dim=96, num_heads=6, prenet_depth=2, depth=2, conv_dim=32, conv_pos_groups=4)


def shapes(config: Config) -> Shapes:
    """The layout as it was published, key by key."""
    d, c = config.embed_dim, config.conv_dim
    found: Shapes = {
        f"{AUDIO}extra_tokens": (1, 10, d),
        f"{AUDIO}alibi_scale": (1, 1, config.num_heads, 1, 1),
        f"{AUDIO}project_features.1.weight": (c,),
        f"{AUDIO}project_features.1.bias": (c,),
        **linear(f"{AUDIO}project_features.2", c, d),
        f"{AUDIO}context_encoder.norm.weight": (d,),
        f"{AUDIO}context_encoder.norm.bias": (d,),
        **linear("proj", d, 9),
    }
    for i, (n_in, kernel) in enumerate([(1, 10), (c, 3), (c, 3), (c, 3), (c, 3), (c, 2), (c, 2)]):
        layer = f"{AUDIO}local_encoder.conv_layers.{i}"
        found |= {f"{layer}.0.weight": (c, n_in, kernel), f"{layer}.2.1.weight": (c,), f"{layer}.2.1.bias": (c,)}
    for i in range(1, 6):
        layer = f"{AUDIO}relative_positional_encoder.{i}.0"
        found |= {f"{layer}.weight": (d, d // config.conv_pos_groups, 19), f"{layer}.bias": (d,)}
    prefixes = [f"{AUDIO}context_encoder.blocks.{i}" for i in range(config.prenet_depth)]
    for block in [*prefixes, *(f"blocks.{i}" for i in range(config.depth))]:
        found |= {f"{block}.{norm}.{kind}": (d,) for norm in ("norm1", "norm2") for kind in ("weight", "bias")}
        found |= linear(f"{block}.attn.qkv", d, 3 * d) | linear(f"{block}.attn.proj", d, d)
        found |= linear(f"{block}.mlp.fc1", d, 4 * d) | linear(f"{block}.mlp.fc2", 4 * d, d)
    return found


def random_state(config: Config, seed: int = 0) -> dict[str, torch.Tensor]:
    """No bias is zero and no scale one: either would hide a frame that leaks."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes(config).items():
        value = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            value = 0.3 * value + (1 if name.endswith("weight") else 0)
        elif name.endswith("weight"):
            value = value * 1.5 * value[0].numel() ** -0.5
        elif name.endswith("alibi_scale"):
            value = 0.5 + 0.2 * value
        state[name] = value
    return state


def sounds(lengths, seed=1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    waves = [torch.randn(1, n, generator=generator) for n in lengths]
    return [F.layer_norm(wave, wave.shape[1:]) for wave in waves]


def padded(waves: list[torch.Tensor], samples: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch; what pads it is loud."""
    samples = samples or max(wave.shape[1] for wave in waves)
    rows = [torch.cat([wave, 3 * torch.ones(1, samples - wave.shape[1])], 1) for wave in waves]
    return torch.cat(rows), torch.tensor([[wave.shape[1]] for wave in waves])
