"""Reading bundles: what holds, and everything that is wrong at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.inference.bundle import BundleError, read_bundle
from edge_agent.inference.session import InferenceSettings, Session

MakeBundle = Callable[..., Path]


def messages(error: BundleError) -> str:
    """All problems in one text."""
    return "\n".join(problem.message for problem in error.problems)


def test_reads_what_is_written(tiny_bundle: MakeBundle) -> None:
    """Name, labels, hash and input of a bundle come back as its file states them."""
    folder = tiny_bundle()
    bundle = read_bundle(folder)
    assert bundle.id == "tiny@1.0.0+uncalibrated"
    assert bundle.description.labels == ("a", "b", "c", "d")
    assert bundle.model_sha256 == hashlib.sha256(bundle.model_paths[0].read_bytes()).digest()
    assert bundle.calibration is None


def test_all_problems_at_once(tiny_bundle: MakeBundle) -> None:
    """A changed model, a doubled label and a zero scale are reported together, with hints."""
    folder = tiny_bundle(labels='labels = ["a", "b", "a", "d"]', scale="scale = [1.0, 0.0, 1.0]")
    (folder / "model.onnx").write_bytes(b"other")
    with pytest.raises(BundleError) as caught:
        read_bundle(folder)
    text = messages(caught.value)
    assert "labels stand twice: a" in text
    assert "input.scale holds a 0" in text
    assert "sha256" in text
    assert "copy the bundle again" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": 'nome = "tiny"'}, "nome"),
        ({"task": 'task = "segment"'}, "task"),
        ({"size": "size = [32]"}, "size"),
        ({"sha256": 'sha256 = "xyz"'}, "sha256"),
        ({"model": '[model]\nfile = "../model.onnx"'}, "plain file name"),
        ({"model": '[model]\nfile = "model\\u0000.onnx"'}, "plain file name"),
        ({"gsd_m": "gsd_m = nan"}, "gsd_m"),
        ({"labels": "labels = [not toml"}, "bundle.toml"),
    ],
)
def test_a_bad_line_is_named(
    tiny_bundle: MakeBundle, changes: dict[str, str], expected: str
) -> None:
    """Each damaged line of bundle.toml is refused by a message that names it."""
    with pytest.raises(BundleError) as caught:
        read_bundle(tiny_bundle(**changes))
    assert expected in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    """A folder without bundle.toml says which file it looked for."""
    with pytest.raises(BundleError, match=r"bundle\.toml"):
        read_bundle(tmp_path / "nowhere")


def test_session_computes_what_the_hand_computes(tiny_bundle: MakeBundle) -> None:
    """Preprocessing, colour order and both outputs equal the arithmetic on the channel means."""
    tiles = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    means = tiles.mean(axis=(1, 2))
    for colour, order in (("RGB", [0, 1, 2]), ("BGR", [2, 1, 0])):
        bundle = read_bundle(tiny_bundle(colour=f'colour = "{colour}"'))
        session = Session(bundle, InferenceSettings())
        outputs = session.run(session.prepare(list(tiles)))
        embedding = (means[:, order] - [10.0, 20.0, 30.0]) / [2.0, 4.0, 5.0]
        weight = np.add.outer(np.arange(3.0), 3.0 * np.arange(4))
        np.testing.assert_allclose(outputs.features, embedding, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(outputs.logits, embedding @ weight, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"labels": 'labels = ["a", "b"]'}, r"not \(2, 2\)"),
        ({"size": "size = [48, 48]"}, "probe batch"),
        ({"input": '[input]\nname = "picture"'}, "no input 'picture'"),
        ({"embedding": 'embedding = "features"'}, "no output 'features'"),
    ],
)
def test_model_and_description_must_agree(
    tiny_bundle: MakeBundle, changes: dict[str, str], expected: str
) -> None:
    """A description that contradicts the model is refused when the session opens."""
    with pytest.raises(BundleError, match=expected):
        Session(read_bundle(tiny_bundle(**changes)), InferenceSettings())


def test_a_file_that_is_no_model(tiny_bundle: MakeBundle) -> None:
    """Garbage with the right hash is refused as no ONNX model."""
    with pytest.raises(BundleError, match="cannot be loaded"):
        Session(read_bundle(tiny_bundle(b"not a model")), InferenceSettings())


def test_probe_finds_numbers_that_are_not_finite(
    tiny_bundle: MakeBundle, make_model: Callable[..., Any]
) -> None:
    """A model whose weights hold NaN is refused before the flight, not in it."""
    model = make_model()
    model.graph.initializer[0].float_data[0] = float("nan")
    with pytest.raises(BundleError, match="not finite"):
        Session(read_bundle(tiny_bundle(model)), InferenceSettings())
