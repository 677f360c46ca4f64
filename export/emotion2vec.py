"""Emotion2Vec+ in plain PyTorch, with the names of the released weights.

Ma et al., "emotion2vec: self-supervised pre-training for speech emotion representation" (2024), a data2vec 2.0
encoder: seven convolutions turn 16 kHz samples into frames of 20 ms, five grouped convolutions encode their
positions, and post-norm transformer blocks with a linear distance penalty (ALiBi) attend to all frames and ten
learned tokens. A linear layer scores the emotions of the mean frame, and of each frame for a timeline.

Rows of different lengths share a batch. Convolutions and attention would let the padding affect the result, so the
frames beyond a row's length are set to zero before each positional convolution, are not keys of the attention and
do not count in the mean: a padded row gets the same answer as alone.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.errors import CheckpointError

AUDIO = "modality_encoders.AUDIO."
STRIDES = (5, 2, 2, 2, 2, 2, 2)
# Stride and receptive field of the seven convolutions in samples.
HOP, FIELD = 320, 400
EPS = 1e-5


@dataclass(frozen=True)
class Config:
    """Sizes of a network.

    Attributes
    ----------
    embed_dim, num_heads : width of the transformer, and its attention heads
    prenet_depth, depth : blocks before and after the point where pre-training masks
    classes : number of emotions
    conv_dim, conv_kernels : width and kernels of the seven convolutions over the samples
    conv_pos_depth, conv_pos_kernel, conv_pos_groups : number, kernel and groups of the positional convolutions
    extra_tokens : learned tokens before the frames
    """

    embed_dim: int
    num_heads: int
    prenet_depth: int = 4
    depth: int = 8
    classes: int = 9
    conv_dim: int = 512
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_pos_depth: int = 5
    conv_pos_kernel: int = 19
    conv_pos_groups: int = 16
    extra_tokens: int = 10

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Config:
        """Return the sizes of a state dict; a CheckpointError names a tensor that is missing or misshapen."""

        def shape(name: str, ndim: int) -> torch.Size:
            if name not in state:
                raise CheckpointError(f"the checkpoint has no tensor {name}")
            if state[name].ndim != ndim:
                raise CheckpointError(
                    f"{name} has the shape {list(state[name].shape)}, expected {ndim} dimensions"
                )
            return state[name].shape

        def count(pattern: str) -> int:
            return len({match[1] for name in state if (match := re.match(pattern, name))})

        convolutions = [f"{AUDIO}local_encoder.conv_layers.{i}.0.weight" for i in range(len(STRIDES))]
        positional = shape(f"{AUDIO}relative_positional_encoder.1.0.weight", 3)
        _, extra_tokens, embed_dim = shape(f"{AUDIO}extra_tokens", 3)
        num_heads = shape(f"{AUDIO}alibi_scale", 5)[2]
        for what, parts in (("attention heads", num_heads), ("channels of a positional group", positional[1])):
            if parts == 0 or embed_dim % parts:
                raise CheckpointError(f"its width {embed_dim} is not a multiple of its {parts} {what}")
        return cls(
            embed_dim=embed_dim,
            num_heads=num_heads,
            prenet_depth=count(rf"{re.escape(AUDIO)}context_encoder\.blocks\.(\d+)\."),
            depth=count(r"blocks\.(\d+)\."),
            classes=shape("proj.weight", 2)[0],
            conv_dim=shape(convolutions[0], 3)[0],
            conv_kernels=tuple(shape(name, 3)[2] for name in convolutions),
            conv_pos_depth=count(rf"{re.escape(AUDIO)}relative_positional_encoder\.(\d+)\."),
            conv_pos_kernel=positional[2],
            conv_pos_groups=embed_dim // positional[1],
            extra_tokens=extra_tokens,
        )


LARGE = Config(embed_dim=1024, num_heads=16)
BASE = Config(embed_dim=768, num_heads=12)


def alibi_slopes(heads: int) -> list[float]:
    """Return the heads' distance penalties (Press et al., "Train short, test long", 2022, and their code)."""
    power = 1 << (heads.bit_length() - 1)
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    if power < heads:
        slopes += alibi_slopes(2 * power)[::2][: heads - power]
    return slopes


class Attention(nn.Module):
    """Multi-head self-attention with a bias for each pair of tokens."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Tokens [n, t, dim] and bias [n, heads, t, t] (-inf: the token is not a key) -> tokens [n, t, dim]."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1) + bias
        return self.proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [n, t, dim] -> tokens [n, t, dim]."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, a norm after each."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Tokens [n, t, dim] -> tokens [n, t, dim]."""
        x = self.norm1(x + self.attn(x, bias))
        return self.norm2(x + self.mlp(x))


class ConvLayer(nn.Module):
    """Convolution over time, a norm over channels, GELU.

    The channels stay last, as the norm needs them, and the convolution is one matrix product for each `stride` of
    its taps, so nothing is transposed. In bfloat16 on OpenVINO the entire network takes 12 to 17 % less time than
    with Conv1d (`python -m bench.conv_front_end`).
    """

    def __init__(self, n_in: int, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.add_module("0", nn.Conv1d(n_in, dim, kernel, stride, bias=False))
        self.add_module("2", nn.Sequential(nn.Identity(), nn.LayerNorm(dim, eps=EPS)))
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Features [n, t, channels] -> [n, (t - kernel) // stride + 1, dim]."""
        weight = self.get_submodule("0").weight.permute(2, 1, 0)  # [taps, channels, dim]
        steps = (x.shape[1] - self.kernel) // self.stride + 1
        products = (
            self._taps(x, start, min(start + self.stride, self.kernel), steps)
            @ weight[start : start + self.stride].flatten(0, 1)
            for start in range(0, self.kernel, self.stride)
        )
        return functional.gelu(self.get_submodule("2")(reduce(operator.add, products)))

    def _taps(self, x: Tensor, start: int, stop: int, steps: int) -> Tensor:
        """Return the inputs of the taps start..stop at each step, [n, steps, taps * channels]."""
        if stop - start < self.stride:
            steps_apart = [x[:, tap :: self.stride][:, :steps] for tap in range(start, stop)]
            return torch.cat(steps_apart, -1) if len(steps_apart) > 1 else steps_apart[0]
        return x[:, start : start + steps * self.stride].reshape(x.shape[0], steps, -1)


class PositionalLayer(nn.Module):
    """Grouped convolution over time that keeps the length, a norm without weights, GELU."""

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.add_module("0", nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups))

    def forward(self, x: Tensor) -> Tensor:
        """Frames [n, t, dim] -> [n, t, dim]."""
        x = self.get_submodule("0")(x.transpose(1, 2)).transpose(1, 2)
        return functional.gelu(functional.layer_norm(x, x.shape[-1:], eps=EPS))


class ContextEncoder(nn.Module):
    """The blocks before the point where pre-training masks, preceded by a norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.embed_dim, eps=EPS)
        self.blocks = _blocks(config, config.prenet_depth)


class AudioEncoder(nn.Module):
    """Samples -> tokens."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = [1, *[config.conv_dim] * len(STRIDES)]
        layers = zip(widths[:-1], widths[1:], config.conv_kernels, STRIDES, strict=True)
        self.local_encoder = nn.Module()
        self.local_encoder.conv_layers = nn.Sequential(*(ConvLayer(*sizes) for sizes in layers))
        self.project_features = nn.Sequential(
            nn.Identity(), nn.LayerNorm(config.conv_dim, eps=EPS), nn.Linear(config.conv_dim, config.embed_dim)
        )
        sizes = config.embed_dim, config.conv_pos_kernel, config.conv_pos_groups
        positional = (PositionalLayer(*sizes) for _ in range(config.conv_pos_depth))
        self.relative_positional_encoder = nn.Sequential(nn.Identity(), *positional)
        self.extra_tokens = nn.Parameter(torch.empty(1, config.extra_tokens, config.embed_dim))
        self.alibi_scale = nn.Parameter(torch.empty(1, 1, config.num_heads, 1, 1))
        self.context_encoder = ContextEncoder(config)


class Emotion2Vec(nn.Module):
    """The network; `of` creates the one that fits a checkpoint."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.modality_encoders = nn.ModuleDict({"AUDIO": AudioEncoder(config)})
        self.blocks = _blocks(config, config.depth)
        self.proj = nn.Linear(config.embed_dim, config.classes)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Emotion2Vec:
        """Return the module, with empty weights, that fits a state dict with the released names."""
        return cls(Config.of(state))

    @property
    def embedding_size(self) -> int:
        """Values of an embedding."""
        return self.config.embed_dim

    def forward(self, wav: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute features and logits of each row.

        Parameters
        ----------
        wav : float32 [n, samples], 16 kHz mono, each row normalised over its valid samples, then padded
        length : int64 [n, 1], valid samples of each row, 400 or more

        Returns
        -------
        features : float32 [n, t, embed_dim], t = (samples - 400) // 320 + 1
        frame logits : float32 [n, t, classes]
        embedding : float32 [n, embed_dim], mean of the valid features
        logits : float32 [n, classes], of the embedding
        """
        audio = self.modality_encoders["AUDIO"]
        x = audio.project_features(audio.local_encoder.conv_layers(wav[:, :, None]))
        t = torch.arange(x.shape[1], device=x.device)
        valid = HOP * t + FIELD <= length  # [n, t]: the frame sees samples of the recording only
        mask = valid[:, :, None].to(x.dtype)

        position = x
        for layer in list(audio.relative_positional_encoder)[1:]:
            position = layer(position * mask)
        tokens = torch.cat([audio.extra_tokens.expand(x.shape[0], -1, -1), x + position], 1)

        bias = self.bias(t, valid)
        tokens = audio.context_encoder.norm(tokens)
        for block in [*audio.context_encoder.blocks, *self.blocks]:
            tokens = block(tokens, bias)
        features = tokens[:, self.config.extra_tokens :]
        embedding = (features * mask).sum(1) / mask.sum(1)
        return features, self.proj(features), embedding, self.proj(embedding)

    def bias(self, t: Tensor, valid: Tensor) -> Tensor:
        """Return the bias of the attention scores: minus the scaled distance of frames, and -inf for padding.

        Returns
        -------
        float32 [n, heads, e + t, e + t] for e extra tokens, whose distance to all frames is 0
        """
        extra = self.config.extra_tokens
        slopes = torch.tensor(alibi_slopes(self.config.num_heads))[:, None, None]
        scale = self.modality_encoders["AUDIO"].alibi_scale.clamp(min=0)[0, 0]
        distance = (t[:, None] - t[None, :]).abs().to(scale.dtype)
        alibi = functional.pad(-slopes * scale * distance, (extra, 0, extra, 0))
        keys = functional.pad(torch.where(valid, 0.0, -torch.inf), (extra, 0))
        return alibi[None] + keys[:, None, None]


def _blocks(config: Config, depth: int) -> nn.Sequential:
    return nn.Sequential(*(Block(config.embed_dim, config.num_heads) for _ in range(depth)))
