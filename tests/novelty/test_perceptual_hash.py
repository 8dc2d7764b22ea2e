"""pHash against scipy's DCT, and what it survives."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.fft import dctn

from edge_agent.novelty.perceptual_hash import perceptual_hash


def scene(seed: int, side: int = 128) -> np.ndarray:
    """A smooth random picture: noise at a few scales."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (4, 8, 16):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=float)
    return (total / 3).astype(np.uint8)


def distance(left: int | None, right: int | None) -> int:
    """Hamming distance of two hashes that exist."""
    assert left is not None
    assert right is not None
    return (left ^ right).bit_count()


def test_bits_are_signs_of_scipys_dct() -> None:
    """The hash equals the one built from scipy's two-dimensional DCT-II of block means."""
    pixels = scene(3)
    luma = pixels.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3)) @ [0.299, 0.587, 0.114]
    low = dctn(luma, type=2)[1:9, 1:9].ravel()
    bits = "".join("1" if value > np.median(low) else "0" for value in low)
    assert perceptual_hash(pixels) == int(bits, 2)


def test_survives_exposure_noise_and_reencoding() -> None:
    """Darker, noisy and JPEG-compressed copies stay within ten bits; other scenes do not."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        pixels = scene(seed)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
        noisy = pixels * 0.7 + rng.normal(0, 3, pixels.shape)
        copies = [np.asarray(Image.open(buffer)), np.clip(noisy, 0, 255).astype(np.uint8)]
        for copy in copies:
            assert distance(perceptual_hash(pixels), perceptual_hash(copy)) <= 10
        assert distance(perceptual_hash(pixels), perceptual_hash(scene(seed + 100))) > 10


def test_a_tile_without_texture_has_no_hash() -> None:
    """Calm water is not hashed: its signs would be noise and collapse different tiles into one."""
    calm = np.full((128, 128, 3), 90, dtype=np.uint8)
    calm[::2] += 1
    assert perceptual_hash(calm) is None


def test_any_size_from_32_px() -> None:
    """Sides that are no multiple of 32 are hashed too, and close to the same scene at 128."""
    small = np.asarray(Image.fromarray(scene(5)).resize((100, 100), Image.Resampling.BOX))
    assert distance(perceptual_hash(scene(5)), perceptual_hash(small)) <= 10
