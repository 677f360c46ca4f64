"""What explains an answer, in PyTorch: Grad-CAM by autograd, attention roll-out by products of whole matrices."""

import numpy as np
import torch

from export.vgg import VGG19BN
from export.vit import ViTB16


def scaled(values: torch.Tensor) -> np.ndarray:
    """Each [14, 14] from its least to its largest value."""
    values = values.detach().double().numpy()
    low, high = (f(values, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    return (values - low) / (high - low)


def grad_cam(model: VGG19BN, rows: np.ndarray, classes: list[int]) -> np.ndarray:
    """By autograd, through the pooling too."""
    convolved = model.features[:-1](torch.from_numpy(rows)).detach().requires_grad_()
    logits = model.classifier(model.features[-1](convolved).flatten(1))
    (gradient,) = torch.autograd.grad(logits[range(len(rows)), classes].sum(), convolved)
    return scaled((gradient.mean((2, 3), keepdim=True) * convolved).sum(1).relu())


def roll_out(model: ViTB16, rows: np.ndarray) -> np.ndarray:
    """By the product of whole matrices, in float64."""
    attention = []
    handles = [
        block.self_attention.register_forward_hook(lambda _, __, output: attention.append(output[1]))
        for block in model.encoder.layers
    ]
    model(torch.from_numpy(rows))
    for handle in handles:
        handle.remove()
    rolled = torch.eye(197, dtype=torch.float64)
    for weights in attention:
        block = 0.5 * weights.double().mean(1) + 0.5 * torch.eye(197)
        rolled = block / block.sum(-1, keepdim=True) @ rolled
    return scaled(rolled[:, 0, 1:].unflatten(1, (14, 14)))
