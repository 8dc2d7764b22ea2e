"""`bundle join`: several bundles of one model each become an ensemble, or it says why not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edge_agent.authoring.checking import examine
from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.session import InferenceSettings, Session

Make = Callable[..., Any]
COUNT = 3
TILES = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
WITHOUT_ONNX = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("onnx", "google"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from edge_agent.cli import main
main()
"""


def run(*arguments: object, program: str = "from edge_agent.cli import main; main()") -> Any:
    """edge-agent, finished."""
    command = [sys.executable, "-c", program, "bundle", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def parts(make: Make, weights: Any, build_classifier: Make, tmp_path: Path) -> list[Path]:
    """Bundles of three networks that differ in their last layer."""
    return [
        make(_model(build_classifier, weights.weight * (1 + n), weights.bias - n),
             out=tmp_path / f"part{n}", name=f"part-{n}", licence="MIT",
             training_data=f"ground {n}").folder
        for n in range(COUNT)
    ]  # fmt: skip


def _model(build: Make, weight: Any, bias: Any) -> onnx.ModelProto:
    layer = helper.make_node("Gemm", ["features", "w", "b"], ["out"], transB=1)
    model: onnx.ModelProto = build([layer], {"w": weight, "b": bias})
    return model


def outputs(folder: Path) -> Any:
    """What a bundle says of some tiles."""
    session = Session(read_bundle(folder), InferenceSettings())
    return session.run(session.prepare(TILES))


def change(folder: Path, old: str, new: str) -> None:
    """Edit bundle.toml."""
    text = (folder / "bundle.toml").read_text(encoding="utf-8")
    assert old in text
    (folder / "bundle.toml").write_text(text.replace(old, new), encoding="utf-8")


def test_members_side_by_side_with_one_last_layer(parts: list[Path], tmp_path: Path) -> None:
    """Each says what it said alone; logits = features @ hstack(W) / M + mean b; the check holds."""
    out = tmp_path / "whole"
    done = run("join", *parts, "--out", out, "--version", "2.0", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["file"] for each in found["members"]] == [
        f"{n + 1}-part-{n}.onnx" for n in range(COUNT)
    ]
    assert found["id"] == "whole@2.0+uncalibrated"
    assert found["provenance"] == {
        "training_data": "ground 0; ground 1; ground 2", "licence": "MIT",
    }  # fmt: skip
    assert {"ensemble_entropy", "ensemble_mutual_information", "vim"} <= set(found["scores"])
    together = outputs(out)
    alone = np.stack([outputs(part).logits for part in parts])
    np.testing.assert_array_equal(together.member_logits, alone)
    heads = [examine(part).head for part in parts]
    whole = examine(out)
    assert whole.problems == ()
    assert whole.head is not None
    weight = np.hstack([head.weight for head in heads if head is not None]) / COUNT
    bias = np.mean([head.bias for head in heads if head is not None], axis=0)
    np.testing.assert_allclose(whole.head.weight, weight, rtol=1e-6)
    np.testing.assert_allclose(
        together.features @ weight.T + bias, together.logits, rtol=1e-4, atol=1e-4
    )


def test_the_last_layer_is_looked_for_in_the_models(parts: list[Path], tmp_path: Path) -> None:
    """Without head.npz they are read out of the ONNX files; a device without onnx goes without."""
    for part in parts:
        (part / "head.npz").unlink()
    assert run("join", *parts, "--out", tmp_path / "with").returncode == 0
    assert (tmp_path / "with" / "head.npz").exists()
    done = run("join", *parts, "--out", tmp_path / "less", program=WITHOUT_ONNX)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "less" / "head.npz").exists()
    assert "pip install 'tilesift[bundle]'" in done.stdout


def test_all_mismatches_at_once(parts: list[Path], tmp_path: Path) -> None:
    """Labels, size, figures, a damaged one, a missing one and a bad name: one list, no folder."""
    change(parts[1], '"grass"', '"snow"')
    change(parts[1], "gsd_m = 0.1", "gsd_m = 0.5")
    change(parts[1], "scale = [255.0, 255.0, 255.0]", "scale = [1.0, 255.0, 255.0]")
    change(parts[2], '  "grass",\n  "water",', '  "water",\n  "grass",')
    (parts[2] / "head.npz").write_bytes(b"no archive")
    out = tmp_path / "whole"
    before = sorted(tmp_path.iterdir())
    done = run("join", *parts, tmp_path / "absent", "--out", out, "--name", "A B")
    assert done.returncode == 3
    for expected in (
        "other labels than", "has snow; lacks grass", "input.gsd_m is 0.5", "input.scale is [1.0,",
        "head.npz", "absent", "--name 'A B' is not allowed",
    ):  # fmt: skip
        assert expected in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_order_copies_ensembles_and_numbers(parts: list[Path], tmp_path: Path) -> None:
    """Labels in another order, a bundle twice, an ensemble, a single one: each is told."""
    out = tmp_path / "whole"
    assert run("join", *parts[:2], "--out", out).returncode == 0
    change(parts[2], '  "grass",\n  "water",', '  "water",\n  "grass",')
    done = run("join", parts[0], parts[2], parts[0], out, "--out", tmp_path / "more")
    assert done.returncode == 3
    assert "other order of labels: class 0 is 'water'" in done.stderr
    assert "has the same model as" in done.stderr
    assert "is an ensemble already" in done.stderr
    done = run("join", parts[0], "--out", tmp_path / "more")
    assert "bundles given: 1" in done.stderr
    assert not (tmp_path / "more").exists()


def test_what_is_there_stays_unless_forced(parts: list[Path], tmp_path: Path) -> None:
    """An ensemble is replaced by --force only, a member never."""
    out = tmp_path / "whole"
    assert run("join", *parts[:2], "--out", out).returncode == 0
    refused = run("join", *parts, "--out", out)
    assert refused.returncode == 3
    assert "--force replaces it" in refused.stderr
    assert run("join", *parts, "--out", out, "--force").returncode == 0
    assert len(read_bundle(out).model_paths) == COUNT
    own = run("join", *parts, "--out", parts[0], "--force")
    assert own.returncode == 3
    assert "is one of the bundles" in own.stderr
    assert read_bundle(parts[0]).description.model is not None


def test_one_without_embedding_leaves_all_without(parts: list[Path], tmp_path: Path) -> None:
    """Scores of logits and of disagreement remain, and the command says why."""
    change(parts[1], 'embedding = "embedding"\n', "")
    (parts[1] / "head.npz").unlink()
    done = run("join", *parts, "--out", tmp_path / "whole", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "knn" in found["lacking"]
    assert "ensemble_entropy" in found["scores"]
    assert any("no embedding, since" in note for note in found["notes"])
