"""musicnn in PyTorch: filters of musical shapes over a log-mel spectrogram; written from its description.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (2019), and Pons et
al., "End-to-end learning for music audio tagging at scale" (2018): filters as tall as timbres and as long as
rhythms, the maximum over the bands, dense layers over time, and both poolings over time before the tags. The ReLU
of a layer comes before its batch normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from export.tensorflow import read_bundle

# Epsilon of every batch normalisation: TensorFlow's default.
EPSILON = 1e-3
# Heights of the timbral filters in bands, 0.4 and 0.7 of 96; they are `FRAMES` wide.
TIMBRAL = (38, 67)
# Widths of the temporal filters in frames; they are one band high.
TEMPORAL = (128, 64, 32)
# Width of the timbral filters and of the dense layers in frames.
FRAMES = 7


class Layer(nn.Module):
    """Convolution, ReLU, batch normalisation."""

    def __init__(self, convolution: nn.Module, normalisation: nn.Module) -> None:
        super().__init__()
        self.convolution, self.normalisation = convolution, normalisation

    def forward(self, x: Tensor) -> Tensor:
        """As the convolution's: [n, channels, ...] -> [n, filters, ...]."""
        return self.normalisation(self.convolution(x).relu())


class MusiCNN(nn.Module):
    """The network; `of` makes the one that a checkpoint fits.

    Parameters
    ----------
    timbral, temporal : filters of each of their layers
    dense : filters of each dense layer
    units : of the layer before the tags, whose values are the embedding
    classes : tags
    """

    def __init__(self, timbral: int, temporal: int, dense: int, units: int, classes: int) -> None:
        super().__init__()
        front = len(TIMBRAL) * timbral + len(TEMPORAL) * temporal
        pooled = 2 * (front + 3 * dense)
        self.normalisation = nn.BatchNorm2d(1, EPSILON)
        self.timbral = nn.ModuleList(_over_bands(timbral, (bands, FRAMES)) for bands in TIMBRAL)
        self.temporal = nn.ModuleList(_over_bands(temporal, (1, frames)) for frames in TEMPORAL)
        self.dense = nn.ModuleList(_over_time(channels, dense) for channels in (front, dense, dense))
        self.pooled = nn.BatchNorm1d(pooled, EPSILON)
        self.penultimate = Layer(nn.Linear(pooled, units), nn.BatchNorm1d(units, EPSILON))
        self.tags = nn.Linear(units, classes)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Patches float32 [n, 1, bands, frames] -> embedding [n, units] and logits [n, classes]."""
        x = self.normalisation(rows)
        wide = pad(x, (FRAMES // 2, FRAMES // 2))
        front = [layer(wide) for layer in self.timbral]
        for layer, length in zip(
            self.temporal, TEMPORAL, strict=True
        ):  # an even filter has its centre on the left
            front.append(layer(pad(x, ((length - 1) // 2, length // 2))))
        features = [torch.cat([values.amax(2) for values in front], 1)]
        for number, layer in enumerate(self.dense):
            values = layer(features[-1])
            features.append(values + features[-1] if number else values)
        joined = torch.cat(features, 1)
        pooled = torch.stack([joined.amax(2), joined.mean(2)], 2).flatten(1)
        embedding = self.penultimate(self.pooled(pooled))
        return embedding, self.tags(embedding)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> MusiCNN:
        """The module, with empty weights, that a state dict belongs to."""
        places = "timbral.0", "temporal.0", "dense.0", "penultimate"
        timbral, temporal, dense, units = (len(state[f"{place}.convolution.weight"]) for place in places)
        return cls(timbral, temporal, dense, units, len(state["tags.weight"]))

    @property
    def embedding_size(self) -> int:
        """Values of its embedding."""
        return self.tags.in_features


def _over_bands(filters: int, kernel: tuple[int, int]) -> Layer:
    return Layer(nn.Conv2d(1, filters, kernel), nn.BatchNorm2d(filters, EPSILON))


def _over_time(channels: int, filters: int) -> Layer:
    return Layer(nn.Conv1d(channels, filters, FRAMES, padding=FRAMES // 2), nn.BatchNorm1d(filters, EPSILON))


# The convolutions in TensorFlow's numbering; its batch normalisations have one more before them.
PLACES = (
    *(f"timbral.{n}" for n in range(len(TIMBRAL))),
    *(f"temporal.{n}" for n in range(len(TEMPORAL))),
    *(f"dense.{n}" for n in range(3)),
)
VALUES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def read(folder: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint of the package musicnn."""
    return from_tensorflow(read_bundle(folder))


def from_tensorflow(tensors: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, Tensor]:
    """The state dict of what musicnn's checkpoints hold; their optimiser's tensors are left out.

    Raises
    ------
    KeyError
        a tensor is missing; the message is its name
    """
    state = {}
    for n, place in enumerate(PLACES):
        kernel = tensors[f"conv2d{f'_{n}' if n else ''}/kernel"]  # [frames, bands, 1, filters]
        weight = kernel.transpose(3, 2, 1, 0)
        state[f"{place}.convolution.weight"] = weight if place[0] == "t" else weight[:, 0]
        state[f"{place}.convolution.bias"] = tensors[f"conv2d{f'_{n}' if n else ''}/bias"]
    for name, place in {"dense": "penultimate.convolution", "dense_1": "tags"}.items():
        state[f"{place}.weight"], state[f"{place}.bias"] = tensors[f"{name}/kernel"].T, tensors[f"{name}/bias"]
    normalised = ("", *(f"{place}." for place in PLACES), "pooled", "penultimate.")
    for n, place in enumerate(normalised):
        target = place if place == "pooled" else f"{place}normalisation"
        for theirs, ours in VALUES.items():
            state[f"{target}.{ours}"] = tensors[f"batch_normalization{f'_{n}' if n else ''}/{theirs}"]
        state[f"{target}.num_batches_tracked"] = np.zeros((), np.int64)
    return {name: torch.from_numpy(np.array(values, order="C")) for name, values in state.items()}
