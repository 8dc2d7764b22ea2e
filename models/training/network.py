"""The classifier: a small residual network that pools to an embedding and reads logits off it.

Layout after He et al. 2016 (https://arxiv.org/abs/1512.03385), with the average-pooled shortcut of
He et al. 2019 (https://arxiv.org/abs/1812.01187): a strided 1x1 shortcut would drop three of four
pixels, and small objects live in those pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Widths and depths; the input is reduced 4x before the first stage, 2x by each later one."""

    stem: int = 24
    widths: tuple[int, ...] = (40, 80, 160)
    depths: tuple[int, ...] = (2, 2, 2)
    embedding: int = 128


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Residual(nn.Module):  # type: ignore[misc]  # torch is absent where types are checked
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, 3, stride)
        self.second = _convolution(outputs, outputs, 3)
        # The block starts as its own shortcut, which steadies the first epochs.
        nn.init.zeros_(self.second[1].weight)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride) if stride != 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, _convolution(inputs, outputs, 1))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        branch = self.second(self.relu(self.first(features)))
        out: Tensor = self.relu(branch + self.shortcut(features))
        return out


class SceneNetwork(nn.Module):  # type: ignore[misc]  # torch is absent where types are checked
    """(N, 3, H, W) normalised pixels -> logits (N, C) and embedding (N, D).

    The logits are exactly `embedding @ head.weight.T + head.bias`, so that scores which need the
    last layer can be computed from the embedding alone.
    """

    def __init__(self, classes: int, shape: NetworkShape, dropout: float = 0.0) -> None:
        super().__init__()
        stem = shape.stem
        layers: list[nn.Module] = [
            _convolution(3, stem, 3, 2),
            nn.ReLU(inplace=True),
            _convolution(stem, shape.widths[0], 3, 2),
            nn.ReLU(inplace=True),
        ]
        inputs = shape.widths[0]
        for stage, (width, depth) in enumerate(zip(shape.widths, shape.depths, strict=True)):
            for block in range(depth):
                layers.append(Residual(inputs, width, 2 if stage and not block else 1))
                inputs = width
        layers += [_convolution(inputs, shape.embedding, 1), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(shape.embedding, classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.body(image).mean(dim=(2, 3))
        return self.head(self.dropout(embedding)), embedding


def parameter_count(network: nn.Module) -> int:
    """Learned parameters; batch-norm statistics are not counted."""
    return sum(parameter.numel() for parameter in network.parameters())


def normalisation(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, 0..255 units, of (N, H, W, 3) uint8 images.

    Rounded as they are written down, so that the network learns with what its users read.
    """
    pixels = images.reshape(-1, 3).to(torch.float64)
    mean, scale = pixels.mean(0).tolist(), pixels.std(0).tolist()
    return [round(v, 3) for v in mean], [round(v, 3) for v in scale]
