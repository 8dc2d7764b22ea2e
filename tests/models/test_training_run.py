"""A whole small training run; needs the extra `train`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("onnx", reason="needs the extra train")

from training.augmentation import Augmentation, mix, random_views
from training.bundle_writer import BundleSpec
from training.dataset import Tiles
from training.fitting import TrainingConfig
from training.network import NetworkShape
from training.recipe import train_bundle

SMALL = TrainingConfig(
    side=32,
    epochs=12,
    batch=16,
    threads=1,
    bfloat16=False,
    shape=NetworkShape(stem=8, widths=(8, 16), depths=(1, 1), embedding=16),
)
SPEC = BundleSpec("toy", "0.1.0", 0.6, "noise", "none", "A toy.", ("x",), ("y",), "python x")


def striped_tiles(count: int = 160) -> Tiles:
    """Two classes that colour alone tells apart."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 2
    images = generator.normal(90, 20, (count, 64, 64, 3))
    images[..., 0] += 60 * labels[:, None, None]
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    names = tuple(f"tile{number}" for number in range(count))
    return Tiles(pixels, labels, ("dull", "red"), np.arange(count), names)


def test_a_run_learns_exports_and_repeats(tmp_path: Path) -> None:
    """Tells the classes apart, writes a whole bundle, and makes the same model again."""
    tiles = striped_tiles()
    unseen = {"dark": np.zeros((5, 64, 64, 3), dtype=np.uint8)}
    kept = tmp_path / "kept.pt"
    metrics = train_bundle(tiles, SPEC, SMALL, tmp_path / "one", unseen=unseen, checkpoint=kept)
    assert metrics["test"]["accuracy"] >= 0.9
    files = {path.name for path in (tmp_path / "one").iterdir()}
    wanted = {"bundle.toml", "model.onnx", "calibration.npz", "MODEL_CARD.md"}
    assert files == wanted | {"metrics.json", "split.csv"}
    with np.load(tmp_path / "one" / "calibration.npz") as held:
        trained = metrics["split"]["train"]
        assert held["reference_features"].shape == (trained, SMALL.shape.embedding)
        guesses = held["reference_features"] @ held["head_weight"].T + held["head_bias"]
        assert (guesses.argmax(axis=1) == held["reference_labels"]).mean() >= 0.9
        assert len(set(held["groups"].tolist())) == len(held["logits"]) == len(held["labels"])
    model = (tmp_path / "one" / "model.onnx").read_bytes()
    train_bundle(tiles, SPEC, SMALL, tmp_path / "two")
    assert (tmp_path / "two" / "model.onnx").read_bytes() == model
    train_bundle(tiles, SPEC, SMALL, tmp_path / "three", weights=kept)
    assert (tmp_path / "three" / "model.onnx").read_bytes() == model
    written = json.loads((tmp_path / "three" / "metrics.json").read_text(encoding="utf-8"))
    assert written["test"] == metrics["test"]


def test_an_unchanged_view_is_the_area_average() -> None:
    """With no crop, tilt or recolouring a view is one of the eight turns of the 2 x 2 means."""
    import torch

    still = Augmentation(
        smallest_crop=1.0,
        stretch=1.0,
        tilt_degrees=0.0,
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        channel_gain=0.0,
    )
    image = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    means = image.astype(np.float64).reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
    eight = [np.rot90(m, k) for m in (means, means[:, ::-1]) for k in range(4)]
    batch = torch.from_numpy(np.repeat(image[None], 64, axis=0))
    views = random_views(batch, 8, still, torch.Generator().manual_seed(0))
    seen = set()
    for view in views.permute(0, 2, 3, 1).numpy():
        errors = [float(np.abs(view - turned).max()) for turned in eight]
        assert min(errors) < 0.05
        seen.add(int(np.argmin(errors)))
    assert seen == set(range(8))


@pytest.mark.parametrize(("cutmix", "mixup"), [(1.0, 0.0), (0.0, 1.0)])
def test_mixed_targets_are_the_shares_of_pixels(cutmix: float, mixup: float) -> None:
    """Tiles of constant 0 and 1: the mean pixel of a mixed view is its target's share of 1."""
    import torch

    how = Augmentation(cutmix_share=cutmix, mixup_share=mixup)
    value = torch.arange(8) % 2
    views = value.float().view(8, 1, 1, 1).expand(8, 3, 20, 20).contiguous()
    targets = torch.nn.functional.one_hot(value, 2).float()
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        mixed, shares = mix(views, targets, how, generator)
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), shares[:, 1], atol=1e-5, rtol=0)
