"""VGG19 with batch normalisation in plain PyTorch, with torchvision's names of the weights.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015),
configuration E; batch normalisation after each convolution.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from export.heads import RELEASED, linear_sizes, released_head, torchvision_vgg_head

# (channels, convolutions) between two halvings of the image.
STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
# Outputs of the convolutions for an image of 224x224.
FEATURES = 512 * 7 * 7


class VGG19BN(nn.Module):
    """The network; `of` creates the one that fits a checkpoint.

    torchvision's adaptive pooling to 7x7 is left out: it has no effect at 224x224, the only size that is served.
    """

    def __init__(self, classifier: nn.Sequential) -> None:
        super().__init__()
        self.features = _features()
        self.classifier = classifier

    def forward(self, rows: Tensor) -> Tensor:
        """Images float32 [n, 3, 224, 224] -> logits float32 [n, classes]."""
        return self.classifier(self.embed(rows))

    def embed(self, rows: Tensor) -> Tensor:
        """Return the input of the head, float32 [n, 25088]."""
        return self.features(rows).flatten(1)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> VGG19BN:
        """Return the module, with empty weights, that fits a state dict with torchvision's names."""
        if "classifier.0.weight" in state:
            head = torchvision_vgg_head(linear_sizes(state, [f"classifier.{i}" for i in (0, 3, 6)], FEATURES))
        else:
            head = released_head(linear_sizes(state, [f"classifier.{i}" for i in RELEASED], FEATURES))
        return cls(head)


def _features() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in STAGES:
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
