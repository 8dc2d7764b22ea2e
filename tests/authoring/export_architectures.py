"""Exports small untrained classifiers of several kinds by both of torch's exporters.

Writes <architecture>-<exporter>[-softmax].onnx and expected.npz (torch's own probabilities) into a
folder: `python tests/authoring/export_architectures.py tests/authoring/exported`. Needs torch,
onnx and, for the newer exporter, onnxscript.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

SIDE, CLASSES, TILES, SEED = 32, 5, 6, 20


class Plain(nn.Sequential):
    """Convolutions, global average, two linear layers with dropout between them."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(12, 10), nn.ReLU(), nn.Dropout(0.3), nn.Linear(10, CLASSES),
        )  # fmt: skip


class Residual(nn.Module):
    """Two residual blocks with batch norm; the mean over the image; linear without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU(),
                nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8),
            )
            for _ in range(2)
        )  # fmt: skip
        self.head = nn.Linear(8, CLASSES, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, C) logits."""
        x = self.stem(image)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(x.mean(dim=(2, 3)))


class Depthwise(nn.Module):
    """Depthwise and pointwise convolutions; the head is a 1 x 1 convolution after pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Hardswish(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 16, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.head = nn.Conv2d(16, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, C) logits."""
        return self.head(self.body(image)).flatten(1)


class AttentionPooling(nn.Module):
    """Patches, a learned query that attends to them, layer norm, a scaled linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 8, stride=8)
        self.query = nn.Parameter(torch.randn(1, 1, 12))
        self.key_value = nn.Linear(12, 24)
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, CLASSES)
        self.scale = nn.Parameter(torch.tensor(2.5))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, C) logits."""
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        keys, values = self.key_value(tokens).chunk(2, dim=-1)
        weights = torch.softmax(self.query @ keys.transpose(1, 2) / 12**0.5, dim=-1)
        return (self.head(self.norm(weights @ values)) * self.scale).squeeze(1)


ARCHITECTURES = {
    "plain": Plain,
    "residual": Residual,
    "depthwise": Depthwise,
    "attention": AttentionPooling,
}
EXPORTERS = ("script", "dynamo")


def seeded_input() -> Tensor:
    """(TILES, 3, SIDE, SIDE) pixels / 255, the same everywhere."""
    shape = (TILES, 3, SIDE, SIDE)
    pixels = np.random.default_rng(SEED).integers(0, 256, shape, dtype=np.uint8)
    return torch.from_numpy(pixels).to(torch.float32) / 255.0


def network(architecture: str) -> nn.Module:
    """The seeded network; batch norms hold statistics, logits are far from equal."""
    torch.manual_seed(SEED)
    made = ARCHITECTURES[architecture]()
    made.train()
    with torch.no_grad():
        for _ in range(20):
            made(torch.rand(8, 3, SIDE, SIDE))
        for parameter in made.parameters():
            parameter.mul_(1.5)
    return made.eval()


def export(made: nn.Module, exporter: str, path: Path) -> None:
    """One ONNX file with a dynamic batch, without the exporter's notes on this machine."""
    example = (torch.rand(2, 3, SIDE, SIDE),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "script":
            torch.onnx.export(
                made, example, str(path), input_names=["input"], output_names=["output"],
                dynamic_axes={"input": {0: "n"}, "output": {0: "n"}}, opset_version=17,
                dynamo=False,
            )  # fmt: skip
        else:
            torch.onnx.export(
                made, example, str(path), input_names=["input"], output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("n")},), dynamo=True, external_data=False,
                verbose=False,
            )  # fmt: skip
    _strip(path)


def _strip(path: Path) -> None:
    model = onnx.load(path)
    model.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.save(model, path)


def export_all(folder: Path) -> None:
    """Every architecture by both exporters, logits and probabilities, and what torch says."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for architecture in ARCHITECTURES:
        made = network(architecture)
        with torch.no_grad():
            expected[architecture] = torch.softmax(made(seeded_input()), dim=1).numpy()
        for exporter in EXPORTERS:
            export(made, exporter, folder / f"{architecture}-{exporter}.onnx")
            with_softmax = nn.Sequential(made, nn.Softmax(dim=1)).eval()
            export(with_softmax, exporter, folder / f"{architecture}-{exporter}-softmax.onnx")
    np.savez_compressed(folder / "expected.npz", **expected)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    export_all(parser.parse_args().folder)
