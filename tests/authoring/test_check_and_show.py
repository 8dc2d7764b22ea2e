"""`bundle create`, `check` and `show` as an operator meets them."""

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
from edge_agent.authoring.heads import find_bundle_head
from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.calibration_file import write_calibration
from edge_agent.inference.head_file import HEAD_FILE, HeadArrays, write_head
from edge_agent.scoring.references import SCORE_NAMES

Build = Callable[..., onnx.ModelProto]
Make = Callable[..., Any]
node = helper.make_node

WITHOUT_ONNX = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("onnx", "google"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from edge_agent.cli import main
sys.argv = ["edge-agent", *sys.argv[1:]]
main()
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """edge-agent where onnx is installed."""
    command = [sys.executable, "-c", "from edge_agent.cli import main; main()"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def run_without_onnx(*arguments: object) -> subprocess.CompletedProcess[str]:
    """edge-agent as a device has it."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_ONNX, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def model(weights: Any, build_classifier: Build) -> onnx.ModelProto:
    """Logits of one linear layer."""
    layer = node("Gemm", ["features", "w", "b"], ["out"], transB=1)
    return build_classifier([layer], {"w": weights.weight, "b": weights.bias})


def calibrated(folder: Path, **changes: Any) -> None:
    """A calibration of 40 random tiles, made with the bundle's own model."""
    bundle = read_bundle(folder)
    examined = examine(folder)
    assert examined.head is not None
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 24)).astype(np.float32)
    logits = features @ examined.head.weight.T + examined.head.bias
    arrays = {
        "logits": logits,
        "features": features,
        "labels": np.arange(40) % 5,
        "head_weight": examined.head.weight,
        "head_bias": examined.head.bias,
    }
    sha256 = changes.pop("model_sha256", bundle.model_sha256.hex())
    write_calibration(folder / "calibration.npz", arrays | changes, model_sha256=sha256)


def test_create_on_the_command_line(
    model: onnx.ModelProto, tmp_path: Path, labels_file: Path
) -> None:
    """One command, its JSON, and what it says to do next."""
    path = tmp_path / "My Model v2.onnx"
    onnx.save(model, path)
    arguments = ("bundle", "create", path, "--labels", labels_file, "--out", tmp_path / "b")
    done = run(*arguments, "--size", "32x32", "--normalise", "imagenet", "--gsd", "0.25")
    assert done.returncode == 0, done.stderr
    assert "edge-agent calibrate" in done.stdout
    assert "no ensemble_entropy: needs an ensemble" in done.stdout
    refused = run(*arguments, "--size", "32")
    assert refused.returncode == 3
    assert "--force replaces it" in refused.stderr
    again = run(*arguments, "--size", "32", "--mean", "1,2,3", "--force", "--json")
    found = json.loads(again.stdout)
    assert found["name"] == "my-model-v2"
    assert found["input"]["mean"] == [1, 2, 3]
    assert found["input"]["scale"] == [1, 1, 1]
    assert found["made"]["probability_difference"] < 1e-5
    assert set(found["scores"]) == set(SCORE_NAMES) - set(found["lacking"])
    assert set(found["lacking"]) == {"ensemble_entropy", "ensemble_mutual_information"}


@pytest.mark.parametrize(
    "wrong", [("--size", "big"), ("--mean", "1,2"), ("--normalise", "none", "--scale", "2")]
)
def test_wrong_flags(
    wrong: tuple[str, ...], model: onnx.ModelProto, tmp_path: Path, labels_file: Path
) -> None:
    """Flags that say nothing sensible end with exit code 2."""
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    arguments = ("bundle", "create", path, "--labels", labels_file, "--out", tmp_path / "b")
    assert run(*arguments, *wrong).returncode == 2
    assert not (tmp_path / "b").exists()


def test_a_device_checks_and_shows_without_onnx(model: onnx.ModelProto, make: Make) -> None:
    """`check` and `show` need nothing beyond the extra edge; `create` says what it needs."""
    folder = make(model).folder
    assert run_without_onnx("bundle", "check", folder).returncode == 0
    shown = run_without_onnx("bundle", "show", folder, "--json")
    assert json.loads(shown.stdout)["output"]["embedding_values"] == 24
    made = run_without_onnx(
        "bundle", "create", folder / "model.onnx", "--labels", folder, "--out", folder / "x"
    )
    assert made.returncode == 3
    assert "pip install 'tilesift[bundle]'" in made.stderr


def test_the_shipped_bundles_hold(repository: Path) -> None:
    """Nothing is wrong with them, and they give every score but an ensemble's."""
    for name in ("scenes-aerial", "crown-health", "rehearsal"):
        examined = examine(repository / "models" / name)
        assert examined.problems == ()
        assert sum(lack is None for lack in examined.outlook.values()) == len(SCORE_NAMES) - 2
        found = find_bundle_head(read_bundle(repository / "models" / name))
        assert found is not None
        assert examined.head is not None
        np.testing.assert_array_equal(found.weight, examined.head.weight)


def test_show_tells_of_the_calibration(model: onnx.ModelProto, make: Make) -> None:
    """Tiles, what is fused, the smallest p; without a calibration the bundle's name says so."""
    folder = make(model, name="mine").folder
    before = json.loads(run("bundle", "show", folder, "--json").stdout)
    assert before["id"] == "mine@1.0.0+uncalibrated"
    assert before["calibration"] is None
    calibrated(folder)
    after = json.loads(run("bundle", "show", folder, "--json").stdout)
    assert after["id"] == "mine@1.0.0"
    assert after["calibration"]["tiles"] == 40
    assert 0 < after["calibration"]["smallest_p"] < 1
    assert "calibrated on 40 tiles" in run("bundle", "show", folder).stdout


def test_everything_wrong_at_once(model: onnx.ModelProto, make: Make) -> None:
    """Another hash, doubled labels, a head and a calibration of other models: one list, exit 3."""
    folder = make(model).folder
    calibrated(folder)
    text = (folder / "bundle.toml").read_text(encoding="utf-8")
    digest = read_bundle(folder).model_sha256.hex()
    text = text.replace('"water"', '"grass"').replace(digest, "0" * 64)
    (folder / "bundle.toml").write_text(text, encoding="utf-8")
    done = run("bundle", "check", folder, "--json")
    assert done.returncode == 3
    report = json.loads(done.stdout)
    told = "\n".join(problem["message"] for problem in report["problems"])
    assert report["ok"] is False
    for expected in (
        "labels stand twice: grass", f"model.onnx has sha256 {digest}",
        "head.npz belongs to another model", "calibration.npz belongs to another model",
    ):  # fmt: skip
        assert expected in told
    assert run("bundle", "show", folder).returncode == 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("labels", "not (2, 6)"),
        ("missing", "cannot read model.onnx"),
        ("garbage", "cannot be loaded"),
        ("toml", "bundle.toml: "),
        ("head values", "are not embedding @ weight.T + bias"),
        ("head shape", "are not those of 5 classes"),
        ("head damaged", "head.npz"),
        ("calibration width", "embeddings of 23 values, the model gives 24"),
        ("calibration labels", "calibration.npz: "),
        ("calibration head", "calibration.npz: the model's logits are not"),
        ("calibration damaged", "calibration.npz"),
    ],
)
def test_each_part_is_checked(
    change: str, expected: str, model: onnx.ModelProto, make: Make
) -> None:
    """One thing broken, one thing told."""
    folder = make(model).folder
    head = examine(folder).head
    assert head is not None
    sha256 = read_bundle(folder).model_sha256.hex()
    toml = folder / "bundle.toml"
    if change == "labels":
        toml.write_text(toml.read_text().replace('"soil",', '"soil",\n"more",'))
    elif change == "missing":
        (folder / "model.onnx").unlink()
    elif change == "garbage":
        (folder / "model.onnx").write_bytes(b"no model")
    elif change == "toml":
        toml.write_text(toml.read_text().replace("size =", "sice ="))
    elif change == "head values":
        changed = HeadArrays(head.weight + np.float32(0.1), head.bias)
        write_head(folder / HEAD_FILE, changed, model_sha256=sha256)
    elif change == "head shape":
        write_head(folder / HEAD_FILE, HeadArrays(head.weight[:4], head.bias), model_sha256=sha256)
    elif change == "head damaged":
        (folder / HEAD_FILE).write_bytes((folder / HEAD_FILE).read_bytes()[:100])
    elif change == "calibration width":
        weight = head.weight[:, :23]
        features = np.random.default_rng(0).normal(size=(40, 23)).astype(np.float32)
        calibrated(folder, features=features, head_weight=weight)
    elif change == "calibration labels":
        calibrated(folder, labels=np.full(40, 7))
    elif change == "calibration head":
        calibrated(folder, head_bias=head.bias + np.float32(1))
    else:
        (folder / "calibration.npz").write_bytes(b"no archive")
    problems = examine(folder).problems
    assert any(expected in problem.message for problem in problems), problems


def test_a_bundle_without_embedding_says_what_it_lacks(
    weights: Any, build_classifier: Build, make: Make
) -> None:
    """Logit scores alone, and words for each score that is missing."""
    nodes = [
        node("Gemm", ["features", "w", "b"], ["logit"], transB=1),
        node("Tanh", ["logit"], ["out"]),
    ]
    constants = {"w": weights.weight, "b": weights.bias}
    folder = make(build_classifier(nodes, constants)).folder
    examined = examine(folder)
    assert examined.problems == ()
    given = {score for score, lack in examined.outlook.items() if lack is None}
    assert given == {"msp", "max_logit", "entropy", "margin", "energy", "gen"}
    assert "embedding" in str(examined.outlook["knn"])
    assert any("no embedding" in note for note in examined.notes)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    """The message names bundle.toml."""
    done = run("bundle", "check", tmp_path)
    assert done.returncode == 3
    assert "bundle.toml" in done.stderr
