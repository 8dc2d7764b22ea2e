"""Random views of tiles: turned, mirrored, cropped, re-coloured, and mixed with each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a view may stray; shares are probabilities per batch."""

    smallest_crop: float = 0.45  # of the tile's area
    stretch: float = 1.2  # largest side ratio of a crop
    tilt_degrees: float = 20.0  # on top of a random quarter turn: nadir images have no up
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.3
    channel_gain: float = 0.06
    cutmix_share: float = 0.5
    mixup_share: float = 0.2


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _sampling_grid(count: int, side: int, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Where each output pixel comes from, (N, side, side, 2) in -1..1 of the source."""
    quarter = torch.randint(0, 4, (count,), generator=generator) * (math.pi / 2)
    tilt = math.radians(how.tilt_degrees)
    turn = quarter + _uniform(count, -tilt, tilt, generator)
    mirror = torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1.0
    edge = _uniform(count, how.smallest_crop, 1.0, generator).sqrt()
    log_stretch = math.log(how.stretch) / 2
    ratio = _uniform(count, -log_stretch, log_stretch, generator).exp()
    width, height = (edge * ratio).clamp(max=1.0), (edge / ratio).clamp(max=1.0)
    right = (1 - width) * _uniform(count, -1.0, 1.0, generator)
    down = (1 - height) * _uniform(count, -1.0, 1.0, generator)
    cos, sin = turn.cos(), turn.sin()
    first = torch.stack([width * cos * mirror, -width * sin, right], dim=1)
    second = torch.stack([height * sin * mirror, height * cos, down], dim=1)
    matrix = torch.stack([first, second], dim=1)
    return functional.affine_grid(matrix, [count, 3, side, side], align_corners=False)


def _recolour(pixels: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and white balance of (N, 3, H, W) in 0..255."""
    count = len(pixels)

    def gain(spread: float, channels: int = 1) -> Tensor:
        drawn = _uniform(count * channels, 1 - spread, 1 + spread, generator)
        return drawn.view(count, channels, 1, 1)

    grey = pixels.mean(dim=1, keepdim=True)
    pixels = grey + (pixels - grey) * gain(how.saturation)
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = (pixels - middle) * gain(how.contrast) + middle * gain(how.brightness)
    return (pixels * gain(how.channel_gain, 3)).clamp(0.0, 255.0)


def random_views(
    images: Tensor, side: int, how: Augmentation, generator: torch.Generator
) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, side, side) float32 in 0..255.

    Bilinear sampling of a source of twice the side is an area average of 2 x 2 pixels for an
    uncropped view, so the source should be about that size.
    """
    pixels = images.permute(0, 3, 1, 2).to(torch.float32)
    grid = _sampling_grid(len(images), side, how, generator)
    views = functional.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return _recolour(views, how, generator)


def mix(
    views: Tensor, targets: Tensor, how: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al. 2019), mixup (Zhang et al. 2018) or neither, by the shares.

    targets (N, C) are class shares and are mixed alike.
    """
    draw, share = torch.rand(2, generator=generator).tolist()
    if draw >= how.cutmix_share + how.mixup_share:
        return views, targets
    other = torch.randperm(len(views), generator=generator)
    if draw >= how.cutmix_share:
        kept = 1 - share / 2
        return views.lerp(views[other], 1 - kept), targets.lerp(targets[other], 1 - kept)
    side = views.shape[-1]
    patch = max(1, round(side * math.sqrt(share)))
    top, left = torch.randint(0, side - patch + 1, (2,), generator=generator).tolist()
    mixed = views.clone()
    window = (slice(None), slice(None), slice(top, top + patch), slice(left, left + patch))
    mixed[window] = views[other][window]
    return mixed, targets.lerp(targets[other], patch * patch / (side * side))
