"""The decision table of the policy, row by row."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.domain import Finding, Prediction
from edge_agent.novelty.memory import Duplicate
from edge_agent.selection.audit import audit_draw
from edge_agent.selection.budget import priority
from edge_agent.selection.policy import (
    Candidate,
    PolicySettings,
    Thresholds,
    decide,
    policy_id,
    tile_value,
)

OK = Finding("quality", "ok", {"nodata_share": 0.0, "contrast": 30.0})
NODATA = Finding("quality", "flag", {"nodata_share": 1.0, "contrast": 0.0, "fault": "nodata"})
TWIN = Duplicate("perceptual", "a.jpg@0,0", 3)
POLICY = PolicySettings(thresholds=Thresholds(ood=1.0, msp=0.9, entropy=0.98), audit_share=0.1)


def prediction(p_entropy: float = 0.5, p_msp: float = 0.5, p_margin: float = 0.5) -> Prediction:
    """A tile torn 0.6 : 0.4 with the given p-values."""
    return Prediction(
        probabilities=np.array([0.6, 0.4]),
        embedding=None,
        scores={"entropy": 0.67, "msp": -0.6, "margin": -0.2},
        p_values={"entropy": p_entropy, "msp": p_msp, "margin": p_margin},
    )


TABLE = [
    # findings, prediction, duplicate, draw -> keep, codes, inclusion probability
    ([NODATA], None, None, 0.0, False, ["invalid:nodata"], None),
    ([OK, Finding("inference", "flag", {"fault": "logits-nan"})], None, None, 0.0,
     False, ["invalid:logits-nan"], None),
    ([OK], prediction(), None, 0.5, False, ["familiar"], None),
    ([OK], prediction(), TWIN, 0.5, False, ["duplicate:perceptual"], None),
    ([OK], prediction(0.001), TWIN, 0.5, False, ["duplicate:perceptual"], None),
    ([OK], prediction(), None, 0.0999, True, ["audit"], 0.1),
    ([OK], prediction(), TWIN, 0.05, True, ["audit"], 0.1),
    ([OK], prediction(), None, 0.1, False, ["familiar"], None),
    ([OK], prediction(0.02), None, 0.5, True, ["score:entropy"], None),
    ([OK], prediction(0.0201), None, 0.5, False, ["familiar"], None),
    ([OK], prediction(0.02, 0.01), None, 0.5, True, ["score:msp", "score:entropy"], None),
    ([OK], prediction(0.01, 0.09), None, 0.5, True, ["score:entropy", "score:msp"], None),
    ([OK], prediction(0.01), None, 0.01, True, ["audit", "score:entropy"], 0.1),
    ([OK], prediction(0.5, 0.5, 0.0001), None, 0.5, False, ["familiar"], None),  # margin unused
]  # fmt: skip


@pytest.mark.parametrize(("findings", "seen", "twin", "draw", "keep", "codes", "share"), TABLE)
def test_decision_table(findings, seen, twin, draw, keep, codes, share) -> None:  # type: ignore[no-untyped-def]
    """Each row of the table gives the verdict and the reasons that stand beside it."""
    verdict = decide(Candidate(findings, seen, twin, draw), POLICY)
    assert verdict.keep == keep
    assert [reason.code for reason in verdict.reasons] == codes
    assert verdict.inclusion_probability == share


def test_without_calibration_no_tile_is_called_familiar() -> None:
    """A tile that nothing could be said of is skipped as unjudged, and still drawn for audits."""
    seen = Prediction(np.array([0.5, 0.5]), None, {"entropy": 0.69}, {})
    skipped = decide(Candidate([OK], seen, None, 0.5), POLICY)
    assert [reason.code for reason in skipped.reasons] == ["unjudged:no-calibration"]
    assert decide(Candidate([OK], seen, None, 0.0), POLICY).reasons[0].code == "audit"


def test_value_by_hand() -> None:
    """0.6 (1 - min p) + 0.4 (1 - (p1 - p2)), over the chosen scores only."""
    seen = prediction(p_entropy=0.25, p_msp=0.5, p_margin=0.01)
    assert tile_value(seen, {"entropy": 0.98, "msp": 0.9}) == pytest.approx(0.6 * 0.75 + 0.4 * 0.8)
    assert tile_value(seen, {}) == pytest.approx(0.8)


def test_an_audit_tile_is_worth_its_floor() -> None:
    """A familiar audit tile gets audit_value, a stranger one keeps its higher value."""
    calm = Prediction(np.array([0.99, 0.01]), None, {"msp": -0.99}, {"msp": 1.0})
    assert decide(Candidate([OK], calm, None, 0.0), POLICY).value == POLICY.audit_value
    assert decide(Candidate([OK], prediction(0.001), None, 0.0), POLICY).value > 0.9


@given(st.floats(0.0001, 1), st.floats(0.0001, 1), st.floats(0, 0.999), st.booleans())
def test_every_verdict_has_a_reason_and_a_value_in_range(
    p_entropy: float, p_msp: float, draw: float, twin: bool
) -> None:
    """Whatever the tile, there is a first reason and the value stays in [0, 1]."""
    verdict = decide(
        Candidate([OK], prediction(p_entropy, p_msp), TWIN if twin else None, draw), POLICY
    )
    assert verdict.reasons
    assert 0.0 <= verdict.value <= 1.0


def test_policy_id_follows_every_setting() -> None:
    """Equal settings have equal ids; a change anywhere in them makes another."""
    assert policy_id(POLICY) == policy_id(msgspec.structs.replace(POLICY))
    others = [
        msgspec.structs.replace(POLICY, audit_seed=1),
        msgspec.structs.replace(POLICY, duplicate_bits=9),
        msgspec.structs.replace(POLICY, thresholds=Thresholds()),
    ]
    assert len({policy_id(policy) for policy in [POLICY, *others]}) == 4


def test_audit_draws_are_uniform_and_repeatable() -> None:
    """Draws fill [0, 1) evenly (Kolmogorov-Smirnov at 0.1 %) and hang on seed, place and pixels."""
    draws = np.sort([audit_draw(1, "s", f"f{n % 7}.jpg@{n},0", bytes(32)) for n in range(4000)])
    steps = np.arange(4000) / 4000
    assert (
        max(np.abs(draws - steps).max(), np.abs(draws - steps - 1 / 4000).max()) < 1.95 / 4000**0.5
    )
    once = audit_draw(1, "s", "f@3,4", b"pixels")
    assert audit_draw(1, "s", "f@3,4", b"pixels") == once
    others = [(2, "s", "f@3,4", b"pixels"), (1, "t", "f@3,4", b"pixels")]
    others += [(1, "s", "f@3,5", b"pixels"), (1, "s", "f@3,4", b"flown again")]
    assert once not in [audit_draw(*other) for other in others]


def test_priority_by_hand() -> None:
    """value / bytes ** 0.7."""
    assert priority(0.5, 1024) == pytest.approx(0.5 / 128.0)
    assert priority(0.5, 0) == 0.5
