"""What is kept of a survey that was found to be foreign."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge_agent.domain import Finding, Prediction
from edge_agent.novelty.leaders import Likeness
from edge_agent.novelty.memory import Duplicate
from edge_agent.selection.policy import Candidate, PolicySettings, Thresholds, decide, policy_id

OK = Finding("quality", "ok", {})
TWIN = Duplicate("content", "a.jpg@0,0", 0)
POLICY = PolicySettings(
    thresholds=Thresholds(ood=0.98, msp=0.98), audit_share=0.1, foreign_share=0.25
)
NEAR, FAR, BLIND = Likeness(0.05, 0.05), Likeness(0.0501, 0.05), Likeness(None, 0.05)


def prediction(p_value: float) -> Prediction:
    shares = {"ood": p_value, "msp": p_value / 2}
    return Prediction(np.array([0.6, 0.4]), None, {"ood": 3.0, "msp": -0.6}, shares)


TABLE = [
    # p-value, duplicate, audit draw, likeness, foreign draw -> keep, codes, numbers of the first
    (0.01, None, 0.5, None, 0.9, True, ["score:msp", "score:ood"], set()),
    (0.01, None, 0.5, NEAR, 0.0, False, ["foreign:alike", "score:msp", "score:ood"],
     {"distance", "epsilon"}),
    (0.01, None, 0.5, FAR, 0.9, True, ["score:msp", "score:ood"], {"distance", "epsilon"}),
    (0.01, None, 0.5, BLIND, 0.25, False, ["foreign:not-drawn", "score:msp", "score:ood"],
     {"draw", "share"}),
    (0.01, None, 0.5, BLIND, 0.2499, True, ["score:msp", "score:ood"], {"draw", "share"}),
    (0.01, TWIN, 0.5, FAR, 0.0, False, ["duplicate:content"], set()),
    (0.5, None, 0.5, FAR, 0.0, False, ["familiar"], set()),
    (0.5, None, 0.0999, NEAR, 0.9, True, ["audit"], set()),
    (0.01, None, 0.0999, NEAR, 0.9, True, ["audit", "score:msp", "score:ood"], set()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("p_value", "twin", "audit", "likeness", "draw", "keep", "codes", "numbers"), TABLE
)
def test_decision_table(
    p_value: float,
    twin: Duplicate | None,
    audit: float,
    likeness: Likeness | None,
    draw: float,
    keep: bool,
    codes: list[str],
    numbers: set[str],
) -> None:
    """Alike is skipped, unlike is kept, the blind are drawn, and the audit goes on as ever."""
    candidate = Candidate([OK], prediction(p_value), twin, audit, likeness, draw)
    verdict = decide(candidate, POLICY)
    assert verdict.keep == keep
    assert [reason.code for reason in verdict.reasons] == codes
    first = set(verdict.reasons[0].numbers)
    assert first >= numbers
    added = {"distance", "epsilon"} | ({"draw", "share"} if codes[0] != "audit" else set())
    if codes[0].startswith("score"):
        assert first & added == numbers


def test_the_verdict_says_how_far_and_how_far_is_far() -> None:
    """Distance and epsilon stand in the first reason, beside the score's own numbers."""
    verdict = decide(Candidate([OK], prediction(0.01), None, 0.5, FAR, 0.0), POLICY)
    assert verdict.reasons[0].numbers == {
        "score": -0.6, "p_value": 0.005, "quantile": 0.98, "distance": 0.0501, "epsilon": 0.05,
    }  # fmt: skip


def test_its_settings_are_part_of_the_policy() -> None:
    """Another alarm, block, slack or share is another policy."""
    others = [
        msgspec.structs.replace(POLICY, **{name: value})
        for name, value in {
            "foreign_alarm": 0.01, "foreign_block_m": 25.0,
            "foreign_slack": 2.0, "foreign_share": 0.1,
        }.items()
    ]  # fmt: skip
    assert len({policy_id(policy) for policy in [POLICY, *others]}) == 5


@pytest.mark.parametrize("alarm", [5e-324, 1e-16, 9e-10])
def test_an_alarm_too_rare_to_reckon_with_is_refused(alarm: float) -> None:
    """Below it, sums in double precision vouch for nothing; 0 stays "never ask"."""
    with pytest.raises(msgspec.ValidationError, match="at least 1e-09, or 0"):
        msgspec.convert({"foreign_alarm": alarm}, PolicySettings)
    assert msgspec.convert({"foreign_alarm": 0.0}, PolicySettings).foreign_alarm == 0.0
