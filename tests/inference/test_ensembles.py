"""Bundles of several members: what they say together, and what is refused before a flight."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_agent.domain import Outputs
from edge_agent.inference.bundle import BundleError, read_bundle
from edge_agent.inference.calibration_file import write_calibration
from edge_agent.inference.ensemble import combine
from edge_agent.inference.session import InferenceSettings, Session

MakeModel = Callable[..., Any]
MakeEnsemble = Callable[..., Path]

AGENT = Path(sys.executable).parent / "edge-agent"
RNG = np.random.default_rng(5)
WEIGHTS = RNG.normal(size=(3, 3, 4)).round(2)
"""Of three members: (M, D, C)."""
BIASES = RNG.normal(size=(3, 4)).round(2)
TILES = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def outputs_of(folder: Path, tiles: Any = TILES) -> Outputs:
    """What the bundle says of the tiles."""
    session = Session(read_bundle(folder), InferenceSettings())
    return session.run(session.prepare(tiles))


def members(make_linear: MakeModel) -> list[Any]:
    """Three networks."""
    return [make_linear(weight, bias) for weight, bias in zip(WEIGHTS, BIASES, strict=True)]


def embedding(tiles: Any = TILES) -> Any:
    """Channel means in the bundle's scale, by hand: (N, 3)."""
    return (tiles.mean(axis=(1, 2)) - [10.0, 20.0, 30.0]) / [2.0, 4.0, 5.0]


def test_the_members_speak_as_the_hand_computes(
    tiny_ensemble: MakeEnsemble, make_linear: MakeModel
) -> None:
    """Each member's logits, their mean, and the embeddings side by side, in the file's order."""
    outputs = outputs_of(tiny_ensemble(members(make_linear)))
    features = embedding()
    each = np.stack(
        [features @ weight + bias for weight, bias in zip(WEIGHTS, BIASES, strict=True)]
    )
    assert outputs.member_logits is not None
    assert outputs.features is not None
    np.testing.assert_allclose(outputs.member_logits, each, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(outputs.logits, each.mean(axis=0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(outputs.features, np.hstack([features] * 3), rtol=1e-4, atol=1e-4)
    assert {array.dtype for array in (outputs.logits, outputs.features)} == {np.dtype(np.float32)}


def test_one_last_layer_describes_the_whole_ensemble(
    tiny_ensemble: MakeEnsemble, make_linear: MakeModel
) -> None:
    """logits = features @ hstack(W_m).T / M + mean b_m, which the feature scores rely on."""
    outputs = outputs_of(tiny_ensemble(members(make_linear)))
    weight = np.hstack([layer.T for layer in WEIGHTS]) / 3
    np.testing.assert_allclose(
        outputs.features @ weight.T + BIASES.mean(axis=0), outputs.logits, rtol=1e-4, atol=1e-3
    )


def test_an_ensemble_says_what_its_members_say_alone(
    tiny_ensemble: MakeEnsemble, tiny_bundle: Callable[..., Path], make_linear: MakeModel
) -> None:
    """Bit for bit, whole batch or tile by tile."""
    models = members(make_linear)
    alone = [outputs_of(tiny_bundle(model)).logits for model in models]
    folder = tiny_ensemble(models)
    together = outputs_of(folder).member_logits
    np.testing.assert_array_equal(together, np.stack(alone))
    one_by_one = [outputs_of(folder, TILES[row : row + 1]).logits[0] for row in range(len(TILES))]
    np.testing.assert_allclose(outputs_of(folder).logits, np.stack(one_by_one), rtol=1e-6)


def test_disagreement_stays_in_the_open(
    tiny_ensemble: MakeEnsemble, make_linear: MakeModel
) -> None:
    """Two members sure of opposite classes: their mean is undecided, their own logits are not."""
    weight = np.array([[1.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
    folder = tiny_ensemble(
        [make_linear(weight), make_linear(-weight)], labels='labels = ["a", "b"]'
    )
    outputs = outputs_of(folder)
    assert outputs.member_logits is not None
    np.testing.assert_array_equal(outputs.logits[:, 0], outputs.logits[:, 1])
    first, second = outputs.member_logits.argmax(axis=2)
    assert (first != second).all()


def test_order_is_part_of_the_model(tiny_ensemble: MakeEnsemble, make_linear: MakeModel) -> None:
    """Members reversed: outputs reversed, another hash, the same mean."""
    models = members(make_linear)
    folder = tiny_ensemble(models)
    forth, forth_hash = outputs_of(folder), read_bundle(folder).model_sha256
    folder = tiny_ensemble(models[::-1])
    back, back_hash = outputs_of(folder), read_bundle(folder).model_sha256
    np.testing.assert_array_equal(forth.member_logits, np.asarray(back.member_logits)[::-1])
    np.testing.assert_allclose(forth.logits, back.logits, rtol=1e-6)
    assert forth_hash != back_hash


def test_the_hash_is_that_of_the_members_digests(
    tiny_ensemble: MakeEnsemble, make_linear: MakeModel
) -> None:
    """SHA-256 over the members' 32-byte digests in the file's order."""
    bundle = read_bundle(tiny_ensemble(members(make_linear)))
    assert [path.name for path in bundle.model_paths] == ["m0.onnx", "m1.onnx", "m2.onnx"]
    digests = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in bundle.model_paths)
    assert bundle.model_sha256 == hashlib.sha256(digests).digest()


def test_a_calibration_belongs_to_all_members_in_their_order(
    tiny_ensemble: MakeEnsemble, make_linear: MakeModel
) -> None:
    """The ensemble's own calibration is taken; a member's, or that of another order, is not."""
    models = members(make_linear)
    other_order = read_bundle(tiny_ensemble(models[::-1])).model_sha256.hex()
    folder = tiny_ensemble(models)
    bundle = read_bundle(folder)
    logits = outputs_of(folder).logits
    path = folder / "calibration.npz"
    write_calibration(path, {"logits": logits}, model_sha256=bundle.model_sha256.hex())
    calibration = read_bundle(folder).calibration
    assert calibration is not None
    np.testing.assert_array_equal(calibration["logits"], logits)
    member = hashlib.sha256((folder / "m0.onnx").read_bytes()).hexdigest()
    for foreign in (member, other_order):
        write_calibration(path, {"logits": logits}, model_sha256=foreign)
        with pytest.raises(BundleError, match="belongs to another model"):
            read_bundle(folder)


def test_no_embedding_named_none_given(tiny_ensemble: MakeEnsemble, make_linear: MakeModel) -> None:
    """Without output.embedding the ensemble has logits alone."""
    outputs = outputs_of(tiny_ensemble(members(make_linear), embedding=""))
    assert outputs.features is None
    assert np.shape(outputs.member_logits) == (3, 6, 4)


def test_one_members_fault_is_the_tiles_fault(
    tiny_ensemble: MakeEnsemble, make_linear: MakeModel
) -> None:
    """A member that takes the logarithm of a black tile's mean: NaN there, untouched elsewhere."""
    folder = tiny_ensemble([make_linear(WEIGHTS[0]), make_linear(WEIGHTS[1], before="Log")])
    tiles = TILES[:3].copy()
    tiles[1] = 0
    outputs = outputs_of(folder, tiles)
    assert outputs.member_logits is not None
    faulty = [[False] * 3, [False, True, False]]
    np.testing.assert_array_equal(np.isnan(outputs.member_logits).any(axis=2), faulty)
    np.testing.assert_array_equal(np.isnan(outputs.logits).any(axis=1), faulty[1])


def test_the_mean_of_large_logits_is_finite_and_no_fault_is_averaged_away() -> None:
    """3e38 twice is 3e38, not infinity; +inf and -inf make NaN; -inf alone stays -inf."""
    first = Outputs(np.array([[3e38, np.inf, -np.inf, np.nan]], np.float32))
    second = Outputs(np.array([[3e38, -np.inf, 1.0, 1.0]], np.float32))
    mean = combine([first, second]).logits
    np.testing.assert_array_equal(mean, np.array([[3e38, np.nan, -np.inf, np.nan]], np.float32))
    assert combine([first]) is first


def test_embeddings_of_different_length_stand_side_by_side() -> None:
    """Two and three numbers make five; a member without leaves the ensemble without."""
    logits = np.zeros((2, 4), np.float32)
    two = Outputs(logits, np.array([[1, 2], [3, 4]], np.float32))
    three = Outputs(logits, np.array([[5, 6, 7], [8, 9, 10]], np.float32))
    joined = combine([two, three]).features
    np.testing.assert_array_equal(joined, [[1, 2, 5, 6, 7], [3, 4, 8, 9, 10]])
    assert combine([two, Outputs(logits)]).features is None


def test_the_filter_flies_an_ensemble(
    tiny_ensemble: MakeEnsemble, make_linear: MakeModel, tmp_path: Path
) -> None:
    """The real process judges every tile of a frame and records the ensemble's hash."""
    folder = tiny_ensemble(members(make_linear))
    pixels = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    flight, database = tmp_path / "flight", tmp_path / "edge.db"
    flight.mkdir()
    Image.fromarray(pixels).save(flight / "frame.png")
    done = subprocess.run(
        [AGENT, "filter", flight, "--bundle", folder, "--database", database, "--json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tiles"] == 6
    with closing(sqlite3.connect(database)) as connection:
        ((known,),) = connection.execute("select bundle_sha256 from run").fetchall()
    assert bytes(known) == read_bundle(folder).model_sha256
