"""`edge-agent scores` on arrays made elsewhere, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.neighbors import NearestNeighbors

from edge_agent.scoring.references import SCORE_NAMES

Arrays = dict[str, np.ndarray]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-c", "from edge_agent.cli import main; main()", "scores"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def world() -> tuple[Arrays, Arrays]:
    """Calibration arrays of 240 tiles and outputs of 30, ten features, five classes, an ensemble
    of two."""
    rng = np.random.default_rng(11)
    means, weight, bias = rng.normal(size=(5, 10)) * 2, rng.normal(size=(5, 10)), rng.normal(size=5)

    def outputs(count: int) -> Arrays:
        labels = rng.integers(0, 5, count)
        features = means[labels] + rng.normal(size=(count, 10))
        logits = features @ weight.T + bias
        spread = rng.normal(size=(1, count, 5))
        members = np.concatenate([logits + spread, logits - spread])
        return {
            "logits": logits, "features": features, "labels": labels, "member_logits": members,
        }  # fmt: skip

    return outputs(240) | {"head_weight": weight, "head_bias": bias}, outputs(30)


def scored(folder: Path, calibration: Arrays, outputs: Arrays, *flags: object) -> Arrays:
    """Write, run, read."""
    np.savez(folder / "calibration.npz", **calibration)
    np.savez(folder / "outputs.npz", **outputs)
    out = folder / "scores.npz"
    done = run(folder / "calibration.npz", folder / "outputs.npz", "--out", out, *flags)
    assert done.returncode == 0, done.stderr
    with np.load(out) as archive:
        return {name: archive[name] for name in archive.files}


def test_every_score_and_p_value_is_written(tmp_path: Path, world: tuple[Arrays, Arrays]) -> None:
    """One float64 array per score, p_ of each, and ood; three of them equal independent sums."""
    calibration, outputs = world
    found = scored(tmp_path, calibration, outputs)
    for name in (*SCORE_NAMES, *(f"p_{score}" for score in SCORE_NAMES), "ood"):
        assert found[name].dtype == np.float64
        assert found[name].shape == (30,)
        assert np.isfinite(found[name]).all()
    np.testing.assert_allclose(found["energy"], -logsumexp(outputs["logits"], axis=1), rtol=1e-12)
    bank, fresh = (
        rows["features"] / np.linalg.norm(rows["features"], axis=1, keepdims=True) for rows in world
    )
    distance, _ = NearestNeighbors(n_neighbors=50).fit(bank).kneighbors(fresh)
    np.testing.assert_allclose(found["knn"], distance[:, -1], rtol=1e-6)
    energies = -logsumexp(calibration["logits"], axis=1)
    above = (energies[None] >= found["energy"][:, None]).sum(axis=1)
    np.testing.assert_allclose(found["p_energy"], (1 + above) / 241, rtol=1e-12)


def test_options_change_what_they_name(tmp_path: Path, world: tuple[Arrays, Arrays]) -> None:
    """k, ViM's dimension, GEN's g and M, and what is fused each change their own score alone."""
    base = scored(tmp_path, *world)
    for flags, names in (
        (("-k", 3), {"knn"}),
        (("--vim-dimension", 2), {"vim"}),
        (("--gen-power", 0.5), {"gen"}),
        (("--gen-classes", 2), {"gen"}),
        (("--fuse", "msp,knn"), set()),
    ):
        other = scored(tmp_path, *world, *flags)
        changed = {name for name in SCORE_NAMES if not np.array_equal(base[name], other[name])}
        assert changed == names, flags
        ranked = {f"p_{name}" for name in names} or {"ood"}
        assert not any(np.array_equal(base[name], other[name]) for name in ranked), flags


def test_missing_arrays_leave_out_scores_and_say_so(
    tmp_path: Path, world: tuple[Arrays, Arrays]
) -> None:
    """Without features, head and members the logit scores remain, and the others are named."""
    calibration, outputs = ({"logits": part["logits"]} for part in world)
    np.savez(tmp_path / "c.npz", **calibration)
    np.savez(tmp_path / "o.npz", **outputs)
    done = run(tmp_path / "c.npz", tmp_path / "o.npz", "--out", tmp_path / "s.npz", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["scores"] == list(SCORE_NAMES[:6])
    assert set(document["lacking"]) == set(SCORE_NAMES[6:])
    with np.load(tmp_path / "s.npz") as archive:
        assert "knn" not in archive.files
        assert np.isfinite(archive["ood"]).all()


def test_invalid_tiles_have_a_reason(tmp_path: Path, world: tuple[Arrays, Arrays]) -> None:
    """A tile with a NaN is invalid, has a reason and NaN; the others are as they were."""
    calibration, outputs = world
    clean = scored(tmp_path, calibration, outputs)
    broken = {name: values.copy() for name, values in outputs.items()}
    broken["logits"][3, 0] = np.nan
    broken["features"][4, 0] = np.inf
    found = scored(tmp_path, calibration, broken)
    assert found["valid"].tolist() == [row not in (3, 4) for row in range(30)]
    assert found["reason"][3] == "logits-nan"
    assert found["reason"][4] == "features-not-finite"
    assert np.isnan(found["ood"][[3, 4]]).all()
    good = found["valid"]
    np.testing.assert_array_equal(found["ood"][good], clean["ood"][good])


def test_what_does_not_fit_is_told_at_once(tmp_path: Path, world: tuple[Arrays, Arrays]) -> None:
    """Outputs of another model are refused with every mismatch, and nothing is written."""
    calibration, outputs = world
    np.savez(tmp_path / "c.npz", **calibration)
    np.savez(
        tmp_path / "o.npz",
        logits=outputs["logits"][:, :4],
        features=outputs["features"],
    )
    done = run(tmp_path / "c.npz", tmp_path / "o.npz", "--out", tmp_path / "s.npz")
    assert done.returncode == 3
    assert "not (N, 5)" in done.stderr
    assert not (tmp_path / "s.npz").exists()


def test_nothing_to_score(tmp_path: Path, world: tuple[Arrays, Arrays]) -> None:
    """Outputs of no tile at all give empty arrays."""
    calibration, outputs = world
    empty = {name: values[:, :0] if values.ndim == 3 else values[:0]
             for name, values in outputs.items()}  # fmt: skip
    found = scored(tmp_path, calibration, empty)
    assert found["ood"].shape == (0,)


def test_what_is_told_as_fused_is_what_was_fused(
    tmp_path: Path, world: tuple[Arrays, Arrays]
) -> None:
    """Outputs without features: only scores that they allow are named as fused."""
    calibration, outputs = world
    np.savez(tmp_path / "c.npz", **calibration)
    np.savez(tmp_path / "o.npz", logits=outputs["logits"])
    done = run(tmp_path / "c.npz", tmp_path / "o.npz", "--out", tmp_path / "s.npz", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["fused"]
    assert set(document["fused"]) <= set(document["scores"])


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--fuse", "knn,nonsense"), 2, "nonsense"),
        (("--fuse", "knn"), 3, "knn: the outputs lack"),
        (("--fuse", " , "), 2, "no score"),
        (("--vim-dimension", 11), 3, "there are 10 features"),
        (("--out", "."), 2, "no file"),
        (("--out", ""), 2, "no file"),
    ],
)
def test_what_cannot_be_done_is_refused(
    tmp_path: Path, world: tuple[Arrays, Arrays], flags: tuple[object, ...], code: int, said: str
) -> None:
    """Impossible wishes are told in a message, not ignored and not a traceback."""
    calibration, outputs = world
    np.savez(tmp_path / "c.npz", **calibration)
    np.savez(tmp_path / "o.npz", logits=outputs["logits"])
    done = run(tmp_path / "c.npz", tmp_path / "o.npz", "--out", tmp_path / "s.npz", *flags)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s.npz").exists()


def test_an_ensemble_of_nobody_is_refused(tmp_path: Path, world: tuple[Arrays, Arrays]) -> None:
    """Member logits of no member are told of like any other wrong shape."""
    calibration, outputs = world
    np.savez(tmp_path / "c.npz", **calibration)
    np.savez(tmp_path / "o.npz", **(outputs | {"member_logits": np.zeros((0, 30, 5))}))
    done = run(tmp_path / "c.npz", tmp_path / "o.npz", "--out", tmp_path / "s.npz")
    assert done.returncode == 3
    assert "member_logits are (0, 30, 5)" in done.stderr


def test_spaces_between_fused_scores_do_no_harm(
    tmp_path: Path, world: tuple[Arrays, Arrays]
) -> None:
    """`knn, msp` is `knn,msp`, and a score named twice counts once."""
    tight = scored(tmp_path, *world, "--fuse", "knn,msp")
    loose = scored(tmp_path, *world, "--fuse", "knn, msp,knn")
    np.testing.assert_array_equal(loose["ood"], tight["ood"])


def test_the_table_says_what_was_fused_and_replaced(
    tmp_path: Path, world: tuple[Arrays, Arrays]
) -> None:
    """`ood` has the median of the p-value, the statistic a row of its own; files are replaced."""
    calibration, outputs = world
    np.savez(tmp_path / "c.npz", **calibration)
    np.savez(tmp_path / "o.npz", **outputs)
    command = (tmp_path / "c.npz", tmp_path / "o.npz", "--out", tmp_path / "s.npz")
    first, second = run(*command, "--fuse", "knn,energy"), run(*command, "--fuse", "knn,energy")
    assert "replaced" not in first.stdout
    assert "s.npz (replaced)" in " ".join(second.stdout.split())
    assert "fused p-value of knn, energy" in second.stdout
    with np.load(tmp_path / "s.npz") as written:
        median = np.median(written["ood"])
        told = run("--help").stdout
        assert {"ood", "ood_statistic", "valid", "reason"} <= set(written)
    (row,) = [line.split() for line in second.stdout.splitlines() if line.startswith(" ood ")]
    assert float(row[1]) == pytest.approx(median, rel=1e-3)
    assert all(name in told for name in ("ood_statistic", "valid", "reason"))
