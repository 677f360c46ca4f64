"""The classification heads of released checkpoints, which are distinguished by their keys.

ccmusic-database trains torchvision backbones with four Linear layers of decreasing size at the positions 1, 4, 7
and 9 of a Sequential; torchvision's own heads are three Linear layers (VGG) or a single one (ViT). The sizes are
read from the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from export.errors import CheckpointError

RELEASED = (1, 4, 7, 9)


def released_head(sizes: Sequence[int]) -> nn.Sequential:
    """Four Linear layers in the released layout, (n_in, l3, l2, l1, classes) -> Sequential of 10."""
    n_in, l3, l2, l1, classes = sizes
    return nn.Sequential(
        *(nn.Dropout(), nn.Linear(n_in, l3), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(l3, l2), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(l2, l1), nn.ReLU()),
        nn.Linear(l1, classes),
    )


def torchvision_vgg_head(sizes: Sequence[int]) -> nn.Sequential:
    """The three Linear layers of torchvision's VGG, (n_in, hidden, hidden, classes)."""
    n_in, first, second, classes = sizes
    return nn.Sequential(
        *(nn.Linear(n_in, first), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(first, second), nn.ReLU(), nn.Dropout()),
        nn.Linear(second, classes),
    )


def linear_sizes(state: Mapping[str, torch.Tensor], names: list[str], n_in: int) -> tuple[int, ...]:
    """Return the sizes of consecutive Linear layers: `n_in`, then the outputs of each of `names`.

    Raises
    ------
    CheckpointError
        If the weight of one of `names` is missing or not a matrix.
    """
    sizes = [n_in]
    for name in names:
        weight = state.get(f"{name}.weight")
        if weight is None:
            raise CheckpointError(f"the checkpoint has no tensor {name}.weight")
        if weight.ndim != 2:
            raise CheckpointError(f"{name}.weight has the shape {list(weight.shape)}, expected a matrix")
        sizes.append(weight.shape[0])
    return tuple(sizes)
