"""All scores together: what is fitted, kept, lacking, at fault."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.domain import Outputs
from edge_agent.scoring.ensembles import ensemble_entropy, ensemble_mutual_information
from edge_agent.scoring.fdbd import fdbd, fit_boundaries
from edge_agent.scoring.logits import LOGIT_SCORES
from edge_agent.scoring.mahalanobis import fit_gaussians, mahalanobis_pp, rmds_pp
from edge_agent.scoring.neighbours import fit_bank, knn
from edge_agent.scoring.references import (
    SCORE_NAMES,
    Head,
    References,
    ScoreOptions,
    faults,
    fit_references,
    lacking,
    raw_scores,
)
from edge_agent.scoring.shapes import MisfitError
from edge_agent.scoring.vim import fit_null_space, vim

DEPTH, CLASSES, MEMBERS = 12, 4, 3
OPTIONS = ScoreOptions(neighbours=7, vim_dimension=5, gen_power=0.3, gen_classes=3, bank_size=90)
FEATURE_SCORES = {"mahalanobis_pp", "rmds_pp", "knn", "vim", "fdbd"}
ENSEMBLE_SCORES = {"ensemble_entropy", "ensemble_mutual_information"}


def head(seed: int = 1) -> Head:
    """A last layer."""
    rng = np.random.default_rng(seed)
    return Head(rng.normal(size=(CLASSES, DEPTH)), rng.normal(size=CLASSES))


def familiar(rows: int = 120) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Features and labels to fit on."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, CLASSES, rows)
    features = head().weight[labels] + rng.normal(size=(rows, DEPTH))
    return features.astype(np.float32), labels


def outputs(rows: int, seed: int = 3) -> Outputs:
    """What a model says of tiles, in the precision it says it in."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, DEPTH)).astype(np.float32)
    logits = (features @ head().weight.T + head().bias).astype(np.float32)
    members = (logits + rng.normal(size=(MEMBERS, rows, CLASSES))).astype(np.float32)
    return Outputs(logits, features, members)


def fitted(options: ScoreOptions = OPTIONS) -> References:
    """References with every part."""
    return fit_references(*familiar(), head(), options)


def test_every_score_is_that_of_its_function() -> None:
    """Sharing work between the scores changes no bit of any; the order is that of the names."""
    said, (features, labels) = outputs(40), familiar()
    scores = raw_scores(said, fitted(), OPTIONS)
    assert tuple(scores) == SCORE_NAMES
    gaussians = fit_gaussians(features, labels)
    null_space = fit_null_space(features, head().weight, head().bias)
    expected = {
        **{name: score(said.logits) for name, score in LOGIT_SCORES.items()},
        "gen": LOGIT_SCORES["gen"](said.logits, 0.3, 3),  # type: ignore[call-arg]
        "mahalanobis_pp": mahalanobis_pp(said.features, gaussians),
        "rmds_pp": rmds_pp(said.features, gaussians),
        "knn": knn(said.features, fit_bank(features, labels, 90), 7),
        "vim": vim(said.features, said.logits, null_space, 5),
        "fdbd": fdbd(said.features, said.logits, fit_boundaries(features, head().weight)),
        "ensemble_entropy": ensemble_entropy(said.member_logits),
        "ensemble_mutual_information": ensemble_mutual_information(said.member_logits),
    }
    for name in SCORE_NAMES:
        np.testing.assert_array_equal(scores[name], expected[name], err_msg=name)
        assert scores[name].dtype == np.float64
    assert len(fitted().neighbours.features) == 90


def test_options_reach_the_scores() -> None:
    """Other options give other scores from the same references; the bank's size where fitted."""
    said, references = outputs(10), fitted()
    plain = raw_scores(said, references, OPTIONS)
    changes = {
        "neighbours": ("knn", 2), "vim_dimension": ("vim", 8),
        "gen_power": ("gen", 0.1), "gen_classes": ("gen", 1),
    }  # fmt: skip
    for option, (moved, value) in changes.items():
        found = raw_scores(said, references, replace(OPTIONS, **{option: value}))
        for name in SCORE_NAMES:
            assert (found[name] == plain[name]).all() == (name != moved), (option, name)
    small = fitted(replace(OPTIONS, bank_size=9))
    assert len(small.neighbours.features) == 9


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_references_survive_a_file(kind: type) -> None:
    """Written and read again, the references give every score to the last bit."""
    features, labels = familiar()
    noise = np.random.default_rng(0).normal(size=features.shape) * 1e-9
    references = fit_references((features + noise).astype(kind), labels, head(), OPTIONS)
    file = io.BytesIO()
    np.savez(file, **references.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        again = References.from_arrays(dict(archive))
    assert again.depth == DEPTH
    assert again.classes == CLASSES
    said = outputs(70)
    for name, values in raw_scores(said, references, OPTIONS).items():
        np.testing.assert_array_equal(raw_scores(said, again, OPTIONS)[name], values)
    for name, array in references.arrays().items():
        assert array.dtype == (kind if name == "neighbours/features" else np.float64)


def test_any_vim_dimension_can_be_asked_of_a_file() -> None:
    """Fitted and kept with one dimension, any other scores as if it had been fitted so."""
    said = outputs(10)
    again = References.from_arrays(fitted().arrays())
    for dimension in range(DEPTH + 1):
        options = replace(OPTIONS, vim_dimension=dimension)
        np.testing.assert_array_equal(
            raw_scores(said, again, options)["vim"],
            raw_scores(said, fitted(options), options)["vim"],
        )


def spoiled(change: dict[str, Any]) -> dict[str, Any]:
    """The arrays of good references with some replaced, or removed by None."""
    arrays = {**fitted().arrays(), **change}
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("mahalanobis/means", None, "is missing"),
        ("vim/axes", np.eye(DEPTH + 1), "with D = 12"),
        ("vim/scale", np.zeros(DEPTH), "with D = 12"),
        ("vim/origin", np.zeros((DEPTH, 1)), r"shape \(D\)"),
        ("neighbours/features", np.zeros((0, DEPTH), np.float32), "empty"),
        ("neighbours/features", np.zeros((3, 5), np.float32), "with D = 12"),
        ("fdbd/separation", np.zeros((4, 5)), "with C = 4"),
        ("fdbd/centre", np.full(DEPTH, np.nan), "not finite"),
        ("fdbd/centre", np.zeros(DEPTH, dtype="U3"), "not numbers"),
        ("mahalanobis/whitening", np.zeros((DEPTH, 2), dtype=complex), "not numbers"),
    ],
)
def test_a_spoiled_file_is_refused_by_name(name: str, array: Any, words: str) -> None:
    """A missing, misshapen or broken array is named, with what is wrong."""
    with pytest.raises(MisfitError, match=words) as caught:
        References.from_arrays(spoiled({name: array}))
    assert any(problem.startswith(name) for problem in caught.value.problems)


def test_all_problems_of_a_file_are_told_at_once() -> None:
    """Three spoiled arrays are three problems."""
    change = {"vim/origin": None, "fdbd/centre": np.full(DEPTH, np.inf), "vim/scale": np.zeros(2)}
    with pytest.raises(MisfitError) as caught:
        References.from_arrays(spoiled(change))
    assert len(caught.value.problems) == 3


def test_other_arrays_of_a_file_are_not_looked_at() -> None:
    """Arrays of other names, whatever they hold, and parts that are not there do no harm."""
    arrays = {n: a for n, a in fitted().arrays().items() if not n.startswith("vim/")}
    found = References.from_arrays({**arrays, "logits": np.array(["x"]), "vimes": np.zeros(1)})
    assert found.vim is None
    assert found.fdbd is not None
    assert References.from_arrays({}).arrays() == {}


def test_what_is_lacking_is_left_out_and_told() -> None:
    """Without labels, head, features or members the scores that need them are told, with why."""
    features, labels = familiar()
    said = outputs(5)
    single = replace(said, member_logits=None)
    logits_only = replace(single, features=None)
    cases = [
        (said, fitted(), set()),
        (single, fitted(), ENSEMBLE_SCORES),
        (said, fit_references(features, None, head(), OPTIONS), {"mahalanobis_pp", "rmds_pp"}),
        (said, fit_references(features, labels, None, OPTIONS), {"vim", "fdbd"}),
        (said, fit_references(None, None, None, OPTIONS), FEATURE_SCORES),
        (logits_only, fitted(), FEATURE_SCORES | ENSEMBLE_SCORES),
    ]
    for given_outputs, references, left_out in cases:
        missing = lacking(given_outputs, references)
        assert missing.keys() == left_out
        assert all(words for words in missing.values())
        scores = raw_scores(given_outputs, references, OPTIONS)
        assert scores.keys() == set(SCORE_NAMES) - left_out
    assert "labels" in lacking(said, cases[2][1])["rmds_pp"]
    assert "last layer" in lacking(said, cases[3][1])["vim"]
    assert "embedding" in lacking(logits_only, fitted())["knn"]


FAULTS = {
    "logits-nan": (np.nan, None, None),
    "logits-inf": (np.inf, None, None),
    "logits-none": (-np.inf, None, None),
    "features-not-finite": (None, np.inf, None),
    "member-logits-nan": (None, np.nan, np.nan),
    "member-logits-inf": (None, None, np.inf),
    "member-logits-none": (None, None, -np.inf),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("row", [0, 3])
def test_a_faulty_row_is_named_and_touches_no_other(fault: str, row: int) -> None:
    """It is NaN in every score; all others score to the last bit as in a sound batch."""
    sound = outputs(6)
    spoilt = outputs(6)
    logit, feature, member = FAULTS[fault]
    if logit is not None:
        spoilt.logits[row, slice(None) if fault == "logits-none" else 1] = logit
    if feature is not None:
        spoilt.features[row, 2] = feature
    if member is not None:
        spoilt.member_logits[1, row, slice(None) if fault.endswith("none") else 0] = member
    assert faults(spoilt) == [fault if at == row else None for at in range(6)]
    assert faults(sound) == [None] * 6
    expected = raw_scores(sound, fitted(), OPTIONS)
    for name, values in raw_scores(spoilt, fitted(), OPTIONS).items():
        assert np.isnan(values[row])
        np.testing.assert_array_equal(np.delete(values, row), np.delete(expected[name], row))


def test_what_the_model_said_stays_as_it_is() -> None:
    """Scoring rows at fault in float64, the precision of the arithmetic, leaves the outputs be."""
    kinds = ("logits", "features", "member_logits")
    said = Outputs(*(getattr(outputs(4), kind).astype(np.float64) for kind in kinds))
    said.logits[2, 0] = np.nan
    before = [getattr(said, kind).copy() for kind in kinds]
    raw_scores(said, fitted(), OPTIONS)
    for kind, array in zip(kinds, before, strict=True):
        np.testing.assert_array_equal(getattr(said, kind), array)


def test_the_first_fault_is_told() -> None:
    """NaN beside infinity is NaN; faults of logits come before those of members and features."""
    said = outputs(4)
    said.logits[0, :2] = [np.inf, np.nan]
    said.logits[1, 0], said.features[1, 0] = np.inf, np.nan
    said.member_logits[2, 2, 0], said.features[2, 0] = np.nan, np.nan
    said.logits[3, 0] = -np.inf
    assert faults(said) == ["logits-nan", "logits-inf", "member-logits-nan", None]


def test_a_whole_batch_at_fault() -> None:
    """Nothing usable in the batch: NaN for every tile, no error, no warning."""
    said = Outputs(np.full((3, CLASSES), np.nan), np.full((3, DEPTH), np.inf))
    for values in raw_scores(said, fitted(), OPTIONS).values():
        assert np.isnan(values).all()


HOSTILE_LOGITS = [
    [1e30, -1e30, 0, 0],
    [7, 7, 7, 7],
    [0, -np.inf, 1, 2],
    [-1e30] * 4,
    [1e4, 1, 0, 0],
]
HOSTILE_FEATURES = [0.0, 1e-38, 1e30, 3e38, 1.0]


def test_hostile_rows_score_finite() -> None:
    """Huge, equal and impossible logits with zero, tiny and huge embeddings: every score finite."""
    said = outputs(25)
    said.logits[:] = np.repeat(HOSTILE_LOGITS, 5, axis=0)
    said.features[:] *= (np.array(HOSTILE_FEATURES * 5) / 4)[:, None]
    said.member_logits[:] = np.repeat(HOSTILE_LOGITS, 5, axis=0)
    said.member_logits[1] = said.member_logits[0, ::-1]
    assert faults(said) == [None] * 25
    for name, values in raw_scores(said, fitted(), OPTIONS).items():
        assert np.isfinite(values).all(), name


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_fitting_rows(rows: int) -> None:
    """References of one, two or five tiles are defined, and every score finite."""
    features, labels = familiar(rows)
    references = fit_references(features, labels, head(), ScoreOptions())
    scores = raw_scores(outputs(20), references, ScoreOptions())
    assert tuple(scores) == SCORE_NAMES
    for name, values in scores.items():
        assert np.isfinite(values).all(), name


def test_one_class() -> None:
    """A model of a single class scores finite."""
    features, _ = familiar()
    one = Head(head().weight[:1], head().bias[:1])
    references = fit_references(features, np.zeros(len(features), np.int64), one, OPTIONS)
    said = outputs(9)
    said = Outputs(said.logits[:, :1], said.features, said.member_logits[:, :, :1])
    for name, values in raw_scores(said, references, OPTIONS).items():
        assert np.isfinite(values).all(), name


@given(st.integers(0, 2**32 - 1), st.integers(1, 80))
@settings(max_examples=25, deadline=None)
def test_batch_equals_one_by_one_in_any_order(seed: int, rows: int) -> None:
    """A tile's scores depend neither on its neighbours in the batch nor on their order."""
    said, references = outputs(rows, seed), fitted()
    whole = raw_scores(said, references, OPTIONS)
    order = np.random.default_rng(seed).permutation(rows)
    shuffled = raw_scores(
        Outputs(said.logits[order], said.features[order], said.member_logits[:, order]),
        references, OPTIONS,
    )  # fmt: skip
    alone = [
        raw_scores(
            Outputs(said.logits[[r]], said.features[[r]], said.member_logits[:, [r]]),
            references, OPTIONS,
        )
        for r in range(rows)
    ]  # fmt: skip
    for name, values in whole.items():
        np.testing.assert_allclose(shuffled[name], values[order], rtol=1e-11, atol=1e-12)
        singly = np.concatenate([scores[name] for scores in alone])
        np.testing.assert_allclose(singly, values, rtol=1e-11, atol=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_names_of_classes_do_not_count(seed: int) -> None:
    """Logits, labels, head and members in another order of classes: the same scores."""
    order = np.random.default_rng(seed).permutation(CLASSES)
    features, labels = familiar()
    options = replace(OPTIONS, bank_size=4096)
    said = outputs(12, seed)
    moved = fit_references(
        features, np.argsort(order)[labels], Head(head().weight[order], head().bias[order]), options
    )
    other = Outputs(said.logits[:, order], said.features, said.member_logits[:, :, order])
    expected = raw_scores(said, fitted(options), options)
    for name, values in raw_scores(other, moved, options).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-9, atol=1e-10, err_msg=name)


def test_rows_that_are_not_finite_are_not_fitted_on() -> None:
    """NaN, infinite and absurd rows are left out, labels too; with no other nothing is fitted."""
    features, labels = familiar()
    bad = np.repeat([[np.nan], [np.inf], [-1e300]], DEPTH, axis=1)
    with_bad = fit_references(np.vstack([bad, features]), [3, 3, 3, *labels], head(), OPTIONS)
    for name, array in fitted().arrays().items():
        np.testing.assert_array_equal(with_bad.arrays()[name], array)
    assert fit_references(bad, [0, 1, 2], head(), OPTIONS).arrays() == {}


def test_misfits_are_refused_with_all_that_is_wrong() -> None:
    """Shapes that do not fit are told at once, when fitting and when scoring."""
    features, labels = familiar()
    wrong = Head(np.zeros((CLASSES, 5)), np.zeros(CLASSES))
    with pytest.raises(MisfitError) as caught:
        fit_references(features, labels[:-1], wrong, OPTIONS)
    assert len(caught.value.problems) == 2
    for bad_labels in (labels - 5, labels.astype(float)):
        with pytest.raises(MisfitError, match="whole numbers from 0"):
            fit_references(features, bad_labels, None, OPTIONS)
    with pytest.raises(MisfitError, match="not finite"):
        fit_references(features, labels, replace(head(), bias=np.full(CLASSES, np.nan)), OPTIONS)
    with pytest.raises(MisfitError, match=r"not \(R, D\)"):
        fit_references(features[0], None, None, OPTIONS)
    said = outputs(4)
    with pytest.raises(MisfitError) as caught:
        raw_scores(
            Outputs(said.logits[:, :3], said.features[:, :5], said.member_logits[:, :2]),
            fitted(), OPTIONS,
        )  # fmt: skip
    assert len(caught.value.problems) == 3
    with pytest.raises(MisfitError, match="features are"):
        raw_scores(replace(said, features=said.features[:3]), fitted(), OPTIONS)
    with pytest.raises(MisfitError, match=r"not \(N, C\)"):
        raw_scores(Outputs(said.logits[0]), fitted(), OPTIONS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"neighbours": 0}, {"bank_size": 0}, {"gen_classes": 0}, {"vim_dimension": -1},
        {"gen_power": 0.0}, {"gen_power": float("nan")}, {"gen_power": float("inf")},
    ],
    ids=str,
)  # fmt: skip
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    """An option that no score can use is refused by its name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ScoreOptions(**wrong)


def test_an_empty_batch() -> None:
    """No tiles, no scores, no error."""
    scores = raw_scores(outputs(0), fitted(), OPTIONS)
    assert {name: len(values) for name, values in scores.items()} == dict.fromkeys(SCORE_NAMES, 0)
