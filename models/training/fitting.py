"""Fits the network: AdamW, cosine schedule, averaged weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.augmentation import Augmentation, mix, random_views
from training.dataset import Tiles, shrink
from training.network import NetworkShape, SceneNetwork, normalisation

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """All that decides a run, apart from the tiles."""

    side: int = 128
    epochs: int = 300
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_epochs: int = 5
    unmixed_share: float = 0.1  # last share of the epochs without CutMix and mixup
    label_smoothing: float = 0.1
    dropout: float = 0.1
    average_decay: float = 0.998
    bfloat16: bool = True  # halves the time where the processor has it, slow where it has not
    threads: int = 2
    seed: int = 1
    split_seed: int = 1
    shape: NetworkShape = field(default_factory=NetworkShape)
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A network ready for use (batch norm frozen) and how its input is normalised."""

    network: SceneNetwork
    mean: list[float]
    scale: list[float]
    seconds: float = 0.0  # what the training took

    def normalise(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..255 -> network input."""
        mean, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in (self.mean, self.scale))
        return ((pixels - mean) / scale).contiguous(memory_format=torch.channels_last)


def _optimiser(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW; no decay on norms and biases, which carry no capacity."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def _rate(progress: float, warmup: float) -> float:
    """Share of the learning rate at this share of the run: linear up, cosine down."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights and norm statistics a little towards the network's."""
    slows, fasts = averaged.state_dict().values(), network.state_dict().values()
    with torch.no_grad():
        for slow, fast in zip(slows, fasts, strict=True):
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - decay)
            else:
                slow.copy_(fast)


@dataclass(slots=True)
class _Loop:
    """One run's moving parts."""

    config: TrainingConfig
    fitted: Fitted  # holds the averaged weights
    network: SceneNetwork
    optimiser: torch.optim.Optimizer
    images: Tensor
    targets: Tensor
    generator: torch.Generator
    step: int = 0

    def epoch(self, mixing: bool, total_steps: int) -> float:
        """One pass over the tiles; returns the mean loss."""
        config, losses = self.config, 0.0
        self.network.train()
        batches = _batches(len(self.images), config.batch, self.generator)
        for rows in batches:
            progress = self.step / total_steps
            rate = config.learning_rate * _rate(progress, config.warmup_epochs / config.epochs)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            losses += self._learn(rows, mixing)
            self.step += 1
            # A young average would be mostly the random start: let it follow faster at first.
            decay = min(config.average_decay, (1 + self.step) / (10 + self.step))
            _average(self.fitted.network, self.network, decay)
        return losses / len(batches)

    def _learn(self, rows: Tensor, mixing: bool) -> float:
        config, how = self.config, self.config.augmentation
        views = random_views(self.images[rows], config.side, how, self.generator)
        targets = self.targets[rows]
        if mixing:
            views, targets = mix(views, targets, how, self.generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            logits, _ = self.network(self.fitted.normalise(views))
        loss = functional.cross_entropy(
            logits.float(), targets, label_smoothing=config.label_smoothing
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


def _batches(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """Shuffled rows in whole batches; a few rows wait for the next epoch."""
    order = torch.randperm(count, generator=generator)
    whole = max(1, count // size) * size
    return list(order[:whole].split(size))


def _start(train: Tiles, config: TrainingConfig) -> _Loop:
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    side, classes = config.side, len(train.label_names)
    mean, scale = normalisation(torch.from_numpy(shrink(train.images, side)))
    larger = train.images.shape[1] > 2 * side
    source = shrink(train.images, 2 * side) if larger else train.images
    network = SceneNetwork(classes, config.shape, config.dropout)
    network = network.to(memory_format=torch.channels_last)
    return _Loop(
        config=config,
        fitted=Fitted(copy.deepcopy(network).eval(), mean, scale),
        network=network,
        optimiser=_optimiser(network, config),
        images=torch.from_numpy(source),
        targets=functional.one_hot(torch.from_numpy(train.labels), classes).float(),
        generator=torch.Generator().manual_seed(config.seed),
    )


def fit(
    train: Tiles,
    config: TrainingConfig,
    report: Report,
    checkpoint: Path | None = None,
    watch: Tiles | None = None,
) -> Fitted:
    """Train from random weights.

    watch: tiles whose accuracy is reported now and then and decides nothing (never the test part).
    checkpoint: where the averaged weights are kept every 20 epochs.
    """
    loop, started = _start(train, config), time.monotonic()
    total_steps = config.epochs * max(1, len(train.images) // config.batch)
    for epoch in range(1, config.epochs + 1):
        mixing = epoch <= config.epochs * (1 - config.unmixed_share)
        loss = loop.epoch(mixing, total_steps)
        if epoch % 20 and epoch != config.epochs:
            continue
        line = f"epoch {epoch}/{config.epochs} loss {loss:.3f}"
        if watch is not None:
            line += f" watched accuracy {accuracy(loop.fitted, watch, config.side):.4f}"
        seconds = time.monotonic() - started
        report(f"{line} {seconds:.0f} s")
        if checkpoint is not None:
            save(replace(loop.fitted, seconds=seconds), checkpoint)
    return replace(loop.fitted, seconds=time.monotonic() - started)


def accuracy(fitted: Fitted, tiles: Tiles, side: int) -> float:
    """Share of tiles whose largest logit is the label's."""
    pixels = torch.from_numpy(shrink(tiles.images, side)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        logits = torch.cat([fitted.network(fitted.normalise(part))[0] for part in pixels.split(64)])
    return float((logits.argmax(dim=1).numpy() == tiles.labels).mean())


def save(fitted: Fitted, path: Path) -> None:
    """Keep weights and normalisation; the old file stays whole until the new one is."""
    part = path.with_suffix(".part")
    state = {
        "weights": fitted.network.state_dict(),
        "mean": fitted.mean,
        "scale": fitted.scale,
        "seconds": fitted.seconds,
    }
    torch.save(state, part)
    part.replace(path)


def load(path: Path, classes: int, config: TrainingConfig) -> Fitted:
    """Read what `save` kept; raises RuntimeError when the shapes do not fit the config."""
    state = torch.load(path, weights_only=True)
    network = SceneNetwork(classes, config.shape, config.dropout)
    network.load_state_dict(state["weights"])
    return Fitted(network.eval(), state["mean"], state["scale"], state["seconds"])
