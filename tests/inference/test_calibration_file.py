"""calibration.npz: formats, and the model that it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.inference.bundle import BundleError, read_bundle
from edge_agent.inference.calibration_file import MAX_BYTES, read_calibration, write_calibration

MakeBundle = Callable[..., Path]
MODEL, OTHER = "a" * 64, "b" * 64
CONTENT: dict[str, Any] = {
    "logits": np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32),
    "mahalanobis/means": np.zeros((4, 3)),
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Format 2: all arrays, without the file's own; bound to the model."""
    path = tmp_path / "calibration.npz"
    write_calibration(path, CONTENT, model_sha256=MODEL)
    found, problems = read_calibration(path, model_sha256=MODEL)
    assert problems == []
    assert found is not None
    assert set(found) == set(CONTENT)
    for name, values in CONTENT.items():
        np.testing.assert_array_equal(found[name], values)
    first = path.read_bytes()
    write_calibration(path, dict(reversed(CONTENT.items())), model_sha256=MODEL)
    assert path.read_bytes() == first


def test_absent_is_no_problem(tmp_path: Path) -> None:
    """A bundle may come without."""
    assert read_calibration(tmp_path / "none.npz", model_sha256=MODEL) == (None, [])


def test_another_models_is_refused_by_name(tmp_path: Path) -> None:
    """The message says whose it is."""
    path = tmp_path / "calibration.npz"
    write_calibration(path, CONTENT, model_sha256=OTHER)
    found, (problem,) = read_calibration(path, model_sha256=MODEL)
    assert found is None
    assert "belongs to another model" in problem.message
    assert OTHER in problem.message
    assert MODEL in problem.message


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "lacks model_sha256, format"),
        ({"format": np.array(2)}, "lacks model_sha256"),
        ({"model_sha256": np.array(MODEL)}, "lacks format"),
        ({"model_sha256": np.array(MODEL), "format": np.array(3)}, "format other than 1 or 2"),
        ({"model_sha256": np.array(MODEL), "format": np.array("two")}, "format other than"),
        ({"model_sha256": np.array(MODEL), "format": np.array(2.5)}, "format other than"),
        ({"model_sha256": np.array(MODEL), "format": np.array([1, 2])}, "format other than"),
        ({"model_sha256": np.array([], np.str_), "format": np.array(2)}, "another model"),
        ({"model_sha256": np.array(3), "format": np.array(2)}, "another model"),
    ],
)
def test_a_file_that_does_not_say_what_it_is(
    tmp_path: Path, own: dict[str, Any], expected: str
) -> None:
    """Hash and format must be there, and make sense."""
    path = tmp_path / "calibration.npz"
    np.savez(path, **(CONTENT | own))
    found, problems = read_calibration(path, model_sha256=MODEL)
    assert found is None
    assert any(expected in problem.message for problem in problems)


def test_raw_arrays_of_format_1_stay_readable(tiny_bundle: MakeBundle) -> None:
    """What numpy wrote, compressed or not, comes along with its bundle."""
    folder = tiny_bundle()
    sha256 = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    own = {"model_sha256": np.array(sha256), "format": np.array(1)}
    for save in (np.savez, np.savez_compressed):
        save(folder / "calibration.npz", **CONTENT, **own)
        bundle = read_bundle(folder)
        assert bundle.id == "tiny@1.0.0"
        assert bundle.calibration is not None
        np.testing.assert_array_equal(bundle.calibration["logits"], CONTENT["logits"])


def test_the_shipped_calibrations_are_read(repository: Path) -> None:
    """Every bundle below models/ that has one."""
    folders = [path.parent for path in repository.glob("models/*/calibration.npz")]
    assert folders
    for folder in folders:
        calibration = read_bundle(folder).calibration
        assert calibration is not None
        assert "logits" in calibration


def test_a_damaged_calibration_refuses_the_bundle(tiny_bundle: MakeBundle) -> None:
    """It is one clear problem, and no flight without the calibration that was meant."""
    folder = tiny_bundle()
    (folder / "calibration.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(BundleError, match=r"cannot read calibration\.npz") as caught:
        read_bundle(folder)
    assert "calibrate the bundle again" in str(caught.value)


def test_a_calibration_beyond_the_devices_memory_is_refused(tmp_path: Path) -> None:
    """Neither written nor, where another program wrote it, read."""
    path = tmp_path / "calibration.npz"
    huge = np.broadcast_to(np.float32(0), (MAX_BYTES // 4, 1))
    with pytest.raises(ValueError, match="can be read again"):
        write_calibration(path, {"logits": huge}, model_sha256=MODEL)
    assert not path.exists()


def test_the_files_own_names_are_not_for_arrays(tmp_path: Path) -> None:
    """An array named format or model_sha256 would pass for the file's own."""
    with pytest.raises(ValueError, match="format, model_sha256"):
        write_calibration(
            tmp_path / "c.npz",
            {"format": np.array(1), "model_sha256": np.array(OTHER)},
            model_sha256=MODEL,
        )
