"""musicnn in PyTorch, written from its description: musically motivated filters over a log-mel spectrogram.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (2019), and Pons et
al., "End-to-end learning for music audio tagging at scale" (2018): tall filters for timbre and long filters for
rhythm, the maximum over the bands, dense layers over time, and max and mean pooling over time before the tags. The
ReLU of a layer precedes its batch normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from export.musicnn_package import EPSILON, FRAMES, TEMPORAL, TIMBRAL


class Layer(nn.Module):
    """Convolution, ReLU, batch normalisation."""

    def __init__(self, convolution: nn.Module, normalisation: nn.Module) -> None:
        super().__init__()
        self.convolution, self.normalisation = convolution, normalisation

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, ...] -> [n, filters, ...], as the convolution."""
        return self.normalisation(self.convolution(x).relu())


class MusiCNN(nn.Module):
    """The network; `of` creates the one that fits a checkpoint.

    Parameters
    ----------
    timbral, temporal : filters of each timbral and each temporal layer
    dense : filters of each dense layer
    units : outputs of the layer before the tags, which are the embedding
    classes : number of tags
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
        ):  # an even filter has its centre left of the middle
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
        """Return the module, with empty weights, that fits a state dict."""
        places = "timbral.0", "temporal.0", "dense.0", "penultimate"
        timbral, temporal, dense, units = (len(state[f"{place}.convolution.weight"]) for place in places)
        return cls(timbral, temporal, dense, units, len(state["tags.weight"]))

    @property
    def embedding_size(self) -> int:
        """Values of an embedding."""
        return self.tags.in_features


def _over_bands(filters: int, kernel: tuple[int, int]) -> Layer:
    return Layer(nn.Conv2d(1, filters, kernel), nn.BatchNorm2d(filters, EPSILON))


def _over_time(channels: int, filters: int) -> Layer:
    return Layer(nn.Conv1d(channels, filters, FRAMES, padding=FRAMES // 2), nn.BatchNorm1d(filters, EPSILON))
