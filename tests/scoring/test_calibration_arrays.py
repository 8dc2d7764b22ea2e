"""Arrays of a calibration that somebody got wrong: one error with all that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.domain import Outputs
from edge_agent.scoring.calibration import CalibrationError, CalibrationOptions
from edge_agent.scoring.calibration_arrays import read_arrays, to_arrays

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


def raw() -> Arrays:
    """40 tiles, four classes, six features, two members, and 50 training tiles."""
    rng = np.random.default_rng(5)
    weight, bias = rng.normal(size=(4, 6)), rng.normal(size=4)
    features = rng.normal(size=(40, 6))
    return {
        "logits": features @ weight.T + bias,
        "features": features,
        "labels": np.arange(40) % 4,
        "head_weight": weight,
        "head_bias": bias,
        "member_logits": rng.normal(size=(2, 40, 4)),
        "groups": np.arange(40),
        "reference_features": rng.normal(size=(50, 6)),
        "reference_labels": np.arange(50) % 4,
    }


@pytest.mark.parametrize("name", sorted(set(raw()) - {"labels", "groups", "reference_labels"}))
def test_text_is_refused_by_name(name: str) -> None:
    """Text in place of numbers is told of, whichever array holds it."""
    arrays = raw()
    arrays[name] = arrays[name].astype(np.str_)
    with pytest.raises(CalibrationError, match=name):
        read_arrays(arrays)


def test_a_head_is_checked_without_features() -> None:
    """Half a head, and one of other classes, is refused also where nothing needs it."""
    arrays = {name: raw()[name] for name in ("logits", "labels", "head_weight", "head_bias")}
    assert read_arrays(arrays).head is None
    with pytest.raises(CalibrationError, match="belong together"):
        read_arrays({name: arrays[name] for name in ("logits", "labels", "head_weight")})
    with pytest.raises(CalibrationError, match=r"head_weight \(3, 6\)"):
        read_arrays(arrays | {"head_weight": arrays["head_weight"][:3]})


def test_all_problems_are_told_at_once() -> None:
    """Four arrays wrong, four problems."""
    arrays = raw() | {
        "labels": np.full(40, 9),
        "head_bias": np.zeros(3),
        "member_logits": np.zeros((0, 40, 4)),
        "reference_features": np.full((50, 6), np.nan),
    }
    with pytest.raises(CalibrationError) as caught:
        read_arrays(arrays)
    assert len(caught.value.problems) == 4


def test_whole_numbers_are_numbers() -> None:
    """Logits, features and a head of integers score as the same numbers in floats do."""
    floats = {
        name: np.round(3 * values) if values.dtype.kind == "f" else values
        for name, values in raw().items()
    }
    whole = {name: values.astype(np.int32) for name, values in floats.items()}
    fresh = Outputs(floats["logits"], floats["features"], floats["member_logits"])
    expected, found = read_arrays(floats).judge(fresh), read_arrays(whole).judge(fresh)
    for name, p in expected.p_values.items():
        np.testing.assert_array_equal(found.p_values[name], p)


CHANGES: dict[str, Callable[[Array], Array]] = {
    "text": lambda values: np.full(values.shape, "x"),
    "flat": np.ravel,
    "lifted": lambda values: values[None],
    "short": lambda values: values[:-1] if values.ndim else values,
    "wide": lambda values: np.repeat(values, 2, axis=-1) if values.ndim else values,
    "scalar": lambda values: np.array(1.5),
    "nan": lambda values: np.full(values.shape, np.nan),
    "infinite": lambda values: np.full(values.shape, np.inf),
}


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("options", [None, CalibrationOptions()])
def test_damage_to_fitted_arrays_is_one_error_or_none(
    trained: bool, options: CalibrationOptions | None
) -> None:
    """Whichever array is lost or bent: refused when read, or it judges with p in (0, 1]."""
    made = raw()
    if not trained:
        made = {k: v for k, v in made.items() if not k.startswith("reference")}
    fitted = to_arrays(read_arrays(made))
    fresh = Outputs(made["logits"][:4], made["features"][:4], made["member_logits"][:, :4])
    refused = 0
    for name in fitted:
        damaged = [{k: v for k, v in fitted.items() if k != name}]
        damaged += [fitted | {name: change(fitted[name])} for change in CHANGES.values()]
        for arrays in damaged:
            try:
                calibration = read_arrays(arrays, classes=4, options=options)
            except CalibrationError:
                refused += 1
                continue
            for p in calibration.judge(fresh).p_values.values():
                assert ((p > 0.0) & (p <= 1.0)).all(), name
    assert refused > 40


def test_references_of_other_features_are_refused_before_the_flight() -> None:
    """Fitted parts of another width, or lacking what is ranked, are found when read."""
    fitted = to_arrays(read_arrays(raw()))
    narrow = {name: values for name, values in raw().items() if not name.startswith("head")}
    narrow["features"] = narrow["features"][:, :5]
    narrow["reference_features"] = narrow["reference_features"][:, :5]
    other = {k: v for k, v in to_arrays(read_arrays(narrow)).items() if k.startswith("reference/")}
    kept = {k: v for k, v in fitted.items() if not k.startswith("reference/")}
    with pytest.raises(CalibrationError, match="fitted were 5"):
        read_arrays(kept | other)
    without = {k: v for k, v in fitted.items() if not k.startswith("reference/vim")}
    with pytest.raises(CalibrationError, match="vim"):
        read_arrays(without)
