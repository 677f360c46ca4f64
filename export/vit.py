"""Vision Transformer ViT-B/16 in plain PyTorch, with torchvision's names of the weights.

Dosovitskiy et al., "An image is worth 16x16 words" (2021): 12 pre-norm blocks over a class token and 14x14
patches. Attention is written explicitly, so that it exports to plain ONNX and its weights are accessible.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.heads import RELEASED, linear_sizes, released_head

PATCH, TOKENS = 16, 1 + 14 * 14
LAYERS, HEADS, HIDDEN, MLP = 12, 12, 768, 3072


class SelfAttention(nn.Module):
    """Multi-head self-attention with the packed weights of nn.MultiheadAttention (rows: Q, K, V)."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * hidden))
        self.out_proj = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [n, t, hidden] -> (tokens [n, t, hidden], attention [n, heads, t, t] whose rows sum to 1)."""
        packed = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = packed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        attention = scores.softmax(-1)
        return self.out_proj((attention @ value).transpose(1, 2).flatten(2)), attention


class EncoderBlock(nn.Module):
    """Attention and MLP, each after a norm and with a residual connection."""

    def __init__(self, hidden: int = HIDDEN, heads: int = HEADS, mlp: int = MLP) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden, eps=1e-6)
        self.self_attention = SelfAttention(hidden, heads)
        self.ln_2 = nn.LayerNorm(hidden, eps=1e-6)
        self.mlp = nn.Sequential(
            *(nn.Linear(hidden, mlp), nn.GELU(), nn.Dropout(0.0)),
            *(nn.Linear(mlp, hidden), nn.Dropout(0.0)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [n, t, hidden] -> tokens [n, t, hidden]."""
        x = x + self.self_attention(self.ln_1(x))[0]
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Position embedding, 12 blocks and a final norm."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, TOKENS, HIDDEN))
        self.layers = nn.Sequential(OrderedDict((f"encoder_layer_{i}", EncoderBlock()) for i in range(LAYERS)))
        self.ln = nn.LayerNorm(HIDDEN, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [n, 197, 768] -> tokens [n, 197, 768]."""
        return self.ln(self.layers(x + self.pos_embedding))


class ViTB16(nn.Module):
    """The network; `of` creates the one that fits a checkpoint."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, HIDDEN, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.empty(1, 1, HIDDEN))
        self.encoder = Encoder()
        self.heads = nn.Sequential(OrderedDict(head=head))

    def forward(self, rows: Tensor) -> Tensor:
        """Images float32 [n, 3, 224, 224] -> logits float32 [n, classes]."""
        return self.heads(self.embed(rows))

    def embed(self, rows: Tensor) -> Tensor:
        """Return the class token after the encoder, the input of the head: float32 [n, 768]."""
        patches = self.conv_proj(rows).flatten(2).transpose(1, 2)
        class_token = self.class_token.expand(patches.shape[0], -1, -1)
        return self.encoder(torch.cat([class_token, patches], dim=1))[:, 0]

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> ViTB16:
        """Return the module, with empty weights, that fits a state dict with torchvision's names."""
        if "heads.head.weight" in state:
            return cls(nn.Linear(*linear_sizes(state, ["heads.head"], HIDDEN)))
        return cls(released_head(linear_sizes(state, [f"heads.head.{i}" for i in RELEASED], HIDDEN)))
