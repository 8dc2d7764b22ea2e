"""`edge-agent calibrate` and `evaluate` as an operator runs them, on small sets on disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from edge_agent.cli import main
from edge_agent.inference.bundle import CALIBRATION_FILE, read_bundle
from edge_agent.inference.calibration_file import write_calibration
from edge_agent.inference.head_file import HEAD_FILE, HeadArrays, write_head
from edge_agent.inference.session import InferenceSettings, Session
from edge_agent.scoring.calibration_arrays import read_arrays

HEAD = np.add.outer(np.arange(3.0), 3.0 * np.arange(4)).T

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


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Done:
    """`edge-agent` with these arguments: its real entry point, in this process."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    before = (sys.argv, root.handlers[:], root.level)
    sys.argv = ["edge-agent", *map(str, arguments)]
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
    finally:
        sys.argv, root.handlers[:], level = before
        root.setLevel(level)
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of one width, wherever the tests run."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")


def paint(folder: Path, count: int, level: int, seed: int, spread: int = 12) -> Path:
    """Noisy images around a grey level; the model calls dark ones a, bright ones d."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        base = generator.normal(level, spread, 3)
        coarse = np.clip(base + generator.normal(0, 25, (6, 6, 3)), 0, 255).astype(np.uint8)
        picture = Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:03}.png")
    return folder


@pytest.fixture
def bundle(tiny_bundle: Callable[..., Path]) -> Path:
    """The channel-mean model with its head beside it; mid grey lies between a and d."""
    folder = tiny_bundle(mean="mean = [128.0, 128.0, 128.0]", scale="scale = [9.0, 9.0, 9.0]")
    digest = read_bundle(folder).model_sha256.hex()
    head = HeadArrays(HEAD.astype(np.float32), np.zeros(4, dtype=np.float32))
    write_head(folder / HEAD_FILE, head, model_sha256=digest)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Held-out familiar tiles, training tiles, test tiles, and two kinds of strange ones."""
    root = tmp_path / "data"
    for part, count, seed in (("held", 60, 1), ("train", 40, 5), ("test", 30, 9)):
        paint(root / part / "a", count, 70, seed)
        paint(root / part / "d", count, 185, seed + 1)
    paint(root / "near", 25, 125, 20)
    paint(root / "far", 25, 250, 21, spread=4)
    return root


def document(done: Done) -> Any:
    """The one JSON document on stdout."""
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_calibrate_writes_what_the_agent_reads(bundle: Path, data: Path) -> None:
    """The file judges tiles as the scoring room does; the report says what is in it."""
    done = run("calibrate", bundle, data / "held", "--training", data / "train", "--json")
    told = document(done)
    assert (told["tiles"], told["training_tiles"]) == (120, 80)
    assert told["accuracy"]["value"] > 0.95
    assert {"energy", "knn", "vim", "fdbd", "mahalanobis_pp"} <= told["false_alarms"].keys()
    assert set(told["lacking"]) == {"ensemble_entropy", "ensemble_mutual_information"}
    read = read_bundle(bundle)
    assert read.calibration is not None
    calibration = read_arrays(read.calibration)
    assert calibration.size == 120
    assert calibration.trained
    assert list(calibration.fusion.members) == told["fused"]
    assert calibration.options.scores.neighbours == told["neighbours"] == 5


def test_calibrate_keeps_an_earlier_calibration(bundle: Path, data: Path) -> None:
    """It is replaced by --force only; --out leaves it alone; nothing is half written."""
    assert run("calibrate", bundle, data / "held").code == 0
    first = (bundle / "calibration.npz").read_bytes()
    refused = run("calibrate", bundle, data / "test")
    assert refused.code == 3
    assert "--force" in refused.err
    assert (bundle / "calibration.npz").read_bytes() == first
    other = data / "other.npz"
    assert run("calibrate", bundle, data / "test", "--out", other).code == 0
    assert other.exists()
    assert run("calibrate", bundle, data / "test", "--force").code == 0
    assert (bundle / "calibration.npz").read_bytes() != first
    assert {path.name for path in bundle.iterdir()} == {
        "bundle.toml", "calibration.npz", "head.npz", "model.onnx",
    }  # fmt: skip


def test_a_stale_calibration_can_be_replaced(bundle: Path, data: Path) -> None:
    """Another model's calibration stops the agent, but not the command that mends it."""
    assert run("calibrate", bundle, data / "held").code == 0
    path = bundle / "calibration.npz"
    path.write_bytes(path.read_bytes()[:500])
    assert run("evaluate", bundle, "--id", data / "test", "--ood", data / "far").code == 3
    done = run("calibrate", bundle, data / "held", "--force")
    assert done.code == 0, done.err
    assert read_bundle(bundle).calibration is not None


def test_calibrate_without_labels(bundle: Path, data: Path) -> None:
    """A flat folder: scores that need no labels, and the word that accuracy cannot be told."""
    told = document(run("calibrate", bundle, data / "held" / "a", "--json"))
    assert told["accuracy"] is None
    assert told["confidence"] is None
    assert {"energy", "knn", "vim"} <= told["false_alarms"].keys()
    assert "mahalanobis_pp" in told["lacking"]
    assert any("no labels" in text for text in told["warnings"])


def test_the_last_layer_is_found_wherever_it_is(bundle: Path, data: Path) -> None:
    """head.npz, else the calibration that is replaced, else the model itself; the same weights."""
    heads = {}
    for lost, source in (
        (None, "head.npz"), (HEAD_FILE, "calibration.npz"), (CALIBRATION_FILE, "model.onnx"),
    ):  # fmt: skip
        if lost is not None:
            (bundle / lost).unlink()
        told = document(run("calibrate", bundle, data / "held", "--force", "--json"))
        assert (told["head_source"], told["head_lack"]) == (source, "")
        assert {"vim", "fdbd"} <= told["false_alarms"].keys()
        found = read_bundle(bundle).calibration
        assert found is not None
        heads[source] = found["head_weight"]
    for weight in heads.values():
        np.testing.assert_array_equal(weight, HEAD)
    done = run("calibrate", bundle, data / "held", "--force")
    assert "last layer: weights from calibration.npz" in done.out


def test_calibrate_without_a_head(bundle: Path, data: Path) -> None:
    """Nor onnx to look for it: the extra that brings it and what needs the layer are named."""
    (bundle / HEAD_FILE).unlink()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONNX, "calibrate", bundle, data / "held", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = document(Done(done.returncode, done.stdout, done.stderr))
    assert told["head_source"] is None
    assert "pip install 'tilesift[bundle]'" in told["head_lack"]
    assert {"vim", "fdbd"} <= told["lacking"].keys()
    assert "knn" in told["false_alarms"]


def test_an_earlier_head_of_another_shape_has_no_say(bundle: Path, data: Path) -> None:
    """A calibration with three classes' weights for a model of four: the model's own are taken."""
    (bundle / HEAD_FILE).unlink()
    digest = read_bundle(bundle).model_sha256.hex()
    arrays = {"head_weight": HEAD[:3], "head_bias": np.zeros(3)}
    write_calibration(bundle / CALIBRATION_FILE, arrays, model_sha256=digest)
    told = document(run("calibrate", bundle, data / "held", "--force", "--json"))
    assert told["head_source"] == "model.onnx"


def test_training_tiles_are_no_calibration_tiles(bundle: Path, data: Path) -> None:
    """The very pixels of a training image among the held-out ones are left out and told."""
    told = document(
        run("calibrate", bundle, data / "held", "--training", data / "held" / "a", "--json",
            "--unlabelled")
    )  # fmt: skip
    assert told["tiles"] == 60
    assert any("60 tiles are training tiles" in text for text in told["warnings"])
    nothing = run(
        "calibrate", bundle, data / "held", "--training", data / "held", "--force",
    )  # fmt: skip
    assert nothing.code == 3
    assert "none is held out" in nothing.err


def test_an_ensemble_disagrees_in_the_open(
    tiny_bundle: Callable[..., Path], make_model: Callable[..., Any], data: Path
) -> None:
    """Two members: their scores are calibrated and evaluated beside the others."""
    members = [make_model(opset=opset).SerializeToString() for opset in (17, 18)]
    lines = [f'sha256 = "{hashlib.sha256(member).hexdigest()}"' for member in members]
    folder = tiny_bundle(
        members[0],
        model='[[members]]\nfile = "model.onnx"',
        sha256=f'{lines[0]}\n[[members]]\nfile = "second.onnx"\n{lines[1]}',
        mean="mean = [128.0, 128.0, 128.0]",
        scale="scale = [30.0, 30.0, 30.0]",
    )
    (folder / "second.onnx").write_bytes(members[1])
    told = document(run("calibrate", folder, data / "held", "--json"))
    assert {"ensemble_entropy", "ensemble_mutual_information"} <= told["false_alarms"].keys()
    told = document(
        run("evaluate", folder, "--id", data / "test", "--ood", data / "near", "--json")
    )
    assert "ensemble_entropy" in told["groups"][0]["scores"]
    assert told["familiar"]["accuracy"]["value"] > 0.95


def test_the_true_reason_why_nothing_is_weighed(bundle: Path, data: Path) -> None:
    """One class folder of a model of four: labels were given, and are not said to be missing."""
    (data / "one").mkdir()
    (data / "held" / "a").rename(data / "one" / "a")
    told = document(run("calibrate", bundle, data / "one", "--json"))
    assert "all tiles are of one class" in told["fused_because"]
    told = document(run("calibrate", bundle, data / "one", "--json", "--force", "--unlabelled"))
    assert "without labels" in told["fused_because"]


def test_too_few_tiles_for_the_filters_threshold_are_told_everywhere(
    bundle: Path, data: Path
) -> None:
    """`calibrate`, `bundle check` and `bundle show` name 0.98 and what these tiles can give."""
    few = paint(data / "few" / "a", 30, 70, 3).parent
    told = document(run("calibrate", bundle, few, "--json"))
    least = told["false_alarms"]["ood"]["smallest_p"]
    (note,) = [text for text in told["warnings"] if "ood = 0.98" in text]
    assert f"30 calibration tiles give {least:.2g}" in note
    assert note in document(run("bundle", "check", bundle, "--json"))["notes"]
    assert note in document(run("bundle", "show", bundle, "--json"))["notes"]
    told = document(run("calibrate", bundle, data / "held", "--json", "--force"))
    assert not [text for text in told["warnings"] if "ood = 0.98" in text]


def test_a_temperature_at_its_limit_says_so(bundle: Path, data: Path) -> None:
    """No tile is named wrongly: sharper and sharper would be right."""
    for label, level in (("a", 30), ("d", 225)):
        paint(data / "easy" / label, 30, level, 3, spread=2)
    told = document(run("calibrate", bundle, data / "easy", "--json"))
    assert told["accuracy"]["value"] == 1.0
    assert any("too few wrong tiles to tell" in text for text in told["warnings"])


def test_a_page_for_no_folder_is_refused_before_the_work(bundle: Path, data: Path) -> None:
    """Neither calibration nor evaluation is run for a page that cannot be written."""
    page = data / "none" / "page.html"
    done = run("calibrate", bundle, data / "held", "--report", page)
    assert done.code == 3
    assert "there is no folder" in done.err
    assert not (bundle / CALIBRATION_FILE).exists()
    done = run("evaluate", bundle, "--id", data / "test", "--ood", data / "far", "--report", page)
    assert (done.code, done.out) == (3, "")


def test_few_tiles_warn(bundle: Path, tmp_path: Path) -> None:
    """Twelve tiles make a calibration that says how little it can promise."""
    folder = paint(tmp_path / "few" / "a", 12, 70, 3).parent
    told = document(run("calibrate", bundle, folder, "--json"))
    assert any("only 12 calibration tiles" in text for text in told["warnings"])
    assert told["false_alarms"]["energy"]["smallest_p"] >= 1 / 13


def test_one_picture_many_times_is_no_calibration_set(bundle: Path, tmp_path: Path) -> None:
    """Copies are one content: they cannot hold each other out, and the command says so."""
    folder = tmp_path / "copies" / "a"
    paint(folder, 1, 70, 3)
    for number in range(1, 30):
        (folder / f"{number:03}.png").write_bytes((folder / "000.png").read_bytes())
    done = run("calibrate", bundle, folder.parent)
    assert done.code == 3
    assert "all tiles show the same" in done.err
    assert not (bundle / "calibration.npz").exists()


def test_bad_images_are_told_and_the_code_says_so(bundle: Path, data: Path) -> None:
    """Exit code 5 and the names; nothing readable is code 3 and nothing written."""
    (data / "held" / "a" / "broken.png").write_bytes(b"no image")
    done = run("calibrate", bundle, data / "held")
    assert done.code == 5
    assert "a/broken.png (not-an-image" in done.out
    empty = data / "none"
    empty.mkdir()
    (empty / "x.png").write_bytes(b"no image")
    done = run("calibrate", bundle, empty, "--force")
    assert done.code == 3
    assert "no image of the familiar set can be read" in done.err


def test_unknown_classes_are_told_with_the_known_ones(bundle: Path, data: Path) -> None:
    """A wrong bundle for these folders: usage error, all names at once."""
    done = run("calibrate", bundle, data)
    assert done.code == 2
    assert "far, held, near, test, train" in done.err
    assert "a, b, c, d" in done.err


def test_evaluate_gives_scikit_learns_figures(bundle: Path, data: Path) -> None:
    """AUROC and AUPR of the energy, from the model's logits by hand; pooled sets too."""
    assert run("calibrate", bundle, data / "held", "--training", data / "train").code == 0
    told = document(
        run("evaluate", bundle, "--id", data / "test", "--near", data / "near",
            "--far", f"sky={data / 'far'}", "--json")
    )  # fmt: skip
    assert [(group["name"], group["kind"]) for group in told["groups"]] == [
        ("near", "near"),
        ("sky", "far"),
        ("all", "ood"),
    ]
    energy = {name: _energy(bundle, data / name) for name in ("test", "near", "far")}
    truth = np.repeat([0, 1], [60, 50])
    scores = np.concatenate([energy["test"], energy["near"], energy["far"]])
    figures = told["groups"][-1]["scores"]["energy"]["figures"]
    assert figures["auroc"]["value"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    assert figures["aupr"]["value"] == pytest.approx(
        average_precision_score(truth, scores), abs=1e-9
    )
    near = told["groups"][0]["scores"]
    assert near["knn"]["figures"]["auroc"]["value"] > 0.95
    assert near["ood"]["figures"]["auroc"]["low"] <= near["ood"]["figures"]["auroc"]["value"]
    assert told["familiar"]["accuracy"]["value"] > 0.95
    assert told["familiar"]["false_harvest"]["ood"]["0.05"]["of"] == 60
    assert "OpenOOD v1.5" in told["definitions"]["fpr95"]


def _energy(bundle: Path, folder: Path) -> np.ndarray:
    """Minus log-sum-exp of the logits of a folder's tiles, in the order of their names."""
    session = Session(read_bundle(bundle), InferenceSettings())
    tiles = []
    for path in sorted(folder.rglob("*.png")):
        wide = np.asarray(Image.open(path), dtype=float)
        # 48 -> 32: each output pixel covers one and a half pixels each way.
        weights = np.kron(np.eye(16), [[1, 0.5, 0], [0, 0.5, 1]]) / 1.5
        means = np.einsum("ij,jkc,lk->ilc", weights, wide, weights)
        tiles.append(np.floor(means + 0.5).astype(np.uint8))
    logits = session.run(session.prepare(tiles)).logits.astype(float)
    return -np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) - logits.max(1)


def test_evaluate_warns_of_calibration_tiles_and_of_shared_images(bundle: Path, data: Path) -> None:
    """Figures that flatter say so: familiar tiles calibrated on, OOD tiles that are familiar."""
    assert run("calibrate", bundle, data / "held").code == 0
    done = run("evaluate", bundle, "--id", data / "held", "--ood", data / "held" / "a")
    assert done.code == 0, done.err
    assert "120 tiles of familiar are calibration tiles" in done.out
    assert "60 tiles of a are in familiar too" in done.out


def test_evaluate_without_a_calibration(bundle: Path, data: Path) -> None:
    """Scores from logits, no p-values, and the word for it."""
    done = run("evaluate", bundle, "--id", data / "test", "--ood", data / "far", "--unlabelled")
    assert done.code == 0, done.err
    assert "no calibration" in done.out
    assert "energy" in done.out
    assert "ood fuses" not in done.out


def test_the_table_fits_80_columns(bundle: Path, data: Path) -> None:
    """No line of a table is longer, and no cell is cut off."""
    assert run("calibrate", bundle, data / "held").code == 0
    done = run("evaluate", bundle, "--id", data / "test", "--near", data / "near", "--far",
               data / "far")  # fmt: skip
    assert "…" not in done.out
    assert "100/100 %" in done.out
    rows = [line for line in done.out.splitlines() if line.startswith(("mahalanobis_pp", "ood "))]
    assert len(rows) >= 6
    tables = [line for line in rows if not line.startswith("ood fuses")]
    assert max(map(len, tables)) <= 80


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "no set of OOD images"),
        (("--ood", "x/far", "--near", "y/far"), "two sets are called far"),
        (("--ood", "familiar=x"), "two sets are called familiar"),
        (("--ood", "/nowhere/at/all"), "does not exist"),
    ],
)
def test_sets_that_cannot_be_used(
    bundle: Path, data: Path, flags: tuple[str, ...], told: str
) -> None:
    """No set, two of one name, no such folder: usage errors in words."""
    done = run("evaluate", bundle, "--id", data / "test", *flags)
    assert done.code == 2
    assert told in done.err


def test_frames_are_cut_into_tiles(bundle: Path, tmp_path: Path, data: Path) -> None:
    """A flight as a familiar and as an OOD set, by the filter's own tiles."""
    for name, level in (("familiar", 70), ("foreign", 190)):
        folder = tmp_path / name
        folder.mkdir()
        generator = np.random.default_rng(level)
        for number in range(12):
            noise = generator.normal(level, 30, (16, 24, 3))
            coarse = np.clip(noise, 0, 255).astype(np.uint8)
            Image.fromarray(coarse).resize((96, 64)).save(folder / f"{number}.png")
    done = document(run("calibrate", bundle, tmp_path / "familiar", "--frames", "--json"))
    assert done["tiles"] == 12 * 6
    assert done["contents"] == 12
    told = document(
        run("evaluate", bundle, "--id", tmp_path / "familiar", "--ood", tmp_path / "foreign",
            "--frames", "--json")
    )  # fmt: skip
    assert (told["familiar"]["tiles"], told["groups"][0]["tiles"]) == (72, 72)
    assert "12 images of familiar do not say at what scale" in " ".join(told["warnings"])
    assert "whole images" in told["definitions"]["intervals"]
    mixed = document(
        run("evaluate", bundle, "--id", data / "test", "--ood", f"{tmp_path / 'foreign'}:frames",
            "--json")
    )  # fmt: skip
    assert (mixed["familiar"]["tiles"], mixed["groups"][0]["tiles"]) == (60, 72)
    assert mixed["familiar"]["accuracy"] is not None
