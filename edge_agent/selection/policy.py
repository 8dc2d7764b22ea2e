"""The policy: settings, and the verdict that follows from them.

The rules are tried from the top; the first that applies decides, and later ones of the same kind
add their reasons:

1. nothing to see (no data, constant, numbers that are not finite): skip;
2. drawn by the audit arm: keep;
3. a duplicate of a kept tile: skip;
4. a score beyond its quantile of familiar tiles: keep, one reason per score; but in a survey
   that was found to be foreign all ground is strange, so only what is unlike every kept tile is
   kept, or a seeded share where no embedding tells;
5. familiar: skip; `unjudged` where no calibration says what familiar is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from edge_agent.domain import Finding, Prediction, Reason, Verdict
from edge_agent.novelty.leaders import Likeness
from edge_agent.novelty.memory import Duplicate
from edge_agent.rules.quality import QualitySettings

Quantile = Annotated[float, Meta(ge=0.5, le=1.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]

AUDIT: Final = "audit"
FAMILIAR: Final = "familiar"
UNJUDGED: Final = "unjudged"
INVALID: Final = "invalid"
DUPLICATE: Final = "duplicate"
SCORE: Final = "score"
FOREIGN: Final = "foreign"

LEAST_ALARM: Final = 1e-9
"""Of `foreign_alarm`: rarer than this cannot be told in double precision."""


class Thresholds(Struct, frozen=True, forbid_unknown_fields=True):
    """Per score, the quantile of the calibration tiles beyond which a tile is kept.

    At 0.98, at most 2 % of familiar tiles are kept for that score; 1.0 leaves the score unused.
    """

    ood: Quantile = 0.98
    """All that the bundle's scores see, fused into one."""
    msp: Quantile = 1.0
    max_logit: Quantile = 1.0
    entropy: Quantile = 1.0
    margin: Quantile = 1.0
    energy: Quantile = 1.0
    gen: Quantile = 1.0
    mahalanobis_pp: Quantile = 1.0
    rmds_pp: Quantile = 1.0
    knn: Quantile = 1.0
    vim: Quantile = 1.0
    fdbd: Quantile = 1.0
    ensemble_entropy: Quantile = 1.0
    ensemble_mutual_information: Quantile = 1.0

    def chosen(self) -> dict[str, float]:
        """Score name -> quantile, of the scores in use."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if value < 1.0}


class PolicySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept."""

    thresholds: Thresholds = Thresholds()
    quality: QualitySettings = QualitySettings()
    duplicate_bits: Annotated[int, Meta(ge=-1, le=32)] = 10
    """At most so many differing bits of the 64-bit pHash make a duplicate; -1 compares bytes."""
    duplicate_memory: Annotated[int, Meta(ge=1, le=1_000_000)] = 65_536
    """How many kept tiles are remembered to compare with."""
    audit_share: Share = 0.02
    """Share of valid tiles kept whatever they show, to judge the policy by."""
    audit_seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    audit_value: Share = 0.5
    """The least value of an audit tile, so that it is not the first to be given up."""
    foreign_alarm: Annotated[float, Meta(ge=0.0, le=0.1)] = 0.001
    """At most this share of familiar surveys is ever taken for foreign; 0 never asks."""
    foreign_block_m: Annotated[float, Meta(ge=1.0, le=100_000.0)] = 50.0
    """Side of a block of ground, which has one vote, in metres."""
    foreign_slack: Annotated[float, Meta(ge=1.0, le=15.0)] = 1.5
    """Familiar ground may have so many times as many strange tiles as the calibration has."""
    foreign_share: Share = 0.05
    """Share of the strange tiles of a foreign survey that is kept where no embedding tells which
    are alike."""

    def __post_init__(self) -> None:
        if 0.0 < self.foreign_alarm < LEAST_ALARM:
            raise ValueError(f"foreign_alarm: at least {LEAST_ALARM}, or 0 never to ask")


def policy_id(settings: PolicySettings) -> str:
    """12 hex digits that change when any setting of the policy does; stamped on every sample."""
    canonical = msgspec.json.encode(settings, order="sorted")
    return hashlib.sha256(canonical).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Candidate:
    """All that a verdict rests on."""

    findings: Sequence[Finding]
    prediction: Prediction | None
    duplicate: Duplicate | None
    audit_draw: float
    """Uniform on [0, 1)."""
    likeness: Likeness | None = None
    """In a survey that was found to be foreign: how near the tile is to what was kept."""
    foreign_draw: float = 0.0
    """Uniform on [0, 1), apart from the audit's."""


def decide(candidate: Candidate, settings: PolicySettings) -> Verdict:
    """The verdict on a tile."""
    prediction = candidate.prediction
    if prediction is None:
        return Verdict(False, 0.0, (_invalid_reason(candidate.findings),))
    chosen = settings.thresholds.chosen()
    worth = tile_value(prediction, chosen)
    strange = tuple(_score_reasons(prediction, chosen))
    if candidate.audit_draw < settings.audit_share:
        drawn = Reason(AUDIT, {"draw": candidate.audit_draw, "share": settings.audit_share})
        value = max(worth, settings.audit_value)
        return Verdict(True, value, (drawn, *strange), settings.audit_share)
    if candidate.duplicate is not None:
        twin = candidate.duplicate
        code = f"{DUPLICATE}:{twin.kind}"
        return Verdict(False, worth, (Reason(code, {"distance": float(twin.distance)}),))
    if strange:
        return _verdict_on_strange(candidate, worth, strange, settings)
    if chosen and not prediction.p_values:
        return Verdict(False, worth, (Reason(f"{UNJUDGED}:no-calibration"),))
    return Verdict(False, worth, (Reason(FAMILIAR, _least_p(prediction, chosen)),))


def tile_value(prediction: Prediction, chosen: Mapping[str, float]) -> float:
    """In [0, 1]: how strange by the chosen scores, and how torn between two classes.

    `0.6 (1 - min p) + 0.4 (1 - (p1 - p2))`; without calibration the second part alone.
    """
    first, second = _two_highest(prediction)
    torn = 1.0 - (first - second)
    p_values = [p for name, p in prediction.p_values.items() if name in chosen]
    strangeness = 1.0 - min(p_values) if p_values else torn
    return min(max(0.6 * strangeness + 0.4 * torn, 0.0), 1.0)


def _verdict_on_strange(
    candidate: Candidate, worth: float, strange: tuple[Reason, ...], settings: PolicySettings
) -> Verdict:
    """Keep, unless the survey is foreign and has kept the like before."""
    likeness = candidate.likeness
    if likeness is None:
        return Verdict(True, worth, strange)
    if likeness.distance is None:
        code = f"{FOREIGN}:not-drawn"
        numbers = {"draw": candidate.foreign_draw, "share": settings.foreign_share}
        keep = candidate.foreign_draw < settings.foreign_share
    else:
        code = f"{FOREIGN}:alike"
        numbers = {"distance": likeness.distance, "epsilon": likeness.epsilon}
        keep = likeness.distance > likeness.epsilon
    if not keep:
        return Verdict(False, worth, (Reason(code, numbers), *strange))
    first, *others = strange
    return Verdict(True, worth, (Reason(first.code, {**first.numbers, **numbers}), *others))


def _two_highest(prediction: Prediction) -> tuple[float, float]:
    ordered = sorted(prediction.probabilities.tolist(), reverse=True)
    return ordered[0], ordered[1] if len(ordered) > 1 else 0.0


def _score_reasons(prediction: Prediction, chosen: Mapping[str, float]) -> list[Reason]:
    """One reason per chosen score beyond its quantile, the smallest p-value first."""
    found = []
    for name, quantile in chosen.items():
        p_value = prediction.p_values.get(name)
        if p_value is not None and p_value <= 1.0 - quantile + 1e-12:
            numbers = {
                "score": prediction.scores[name], "p_value": p_value, "quantile": quantile,
            }  # fmt: skip
            found.append((p_value, Reason(f"{SCORE}:{name}", numbers)))
    return [reason for _, reason in sorted(found, key=lambda pair: pair[0])]


def _least_p(prediction: Prediction, chosen: Mapping[str, float]) -> dict[str, float]:
    p_values = [p for name, p in prediction.p_values.items() if name in chosen]
    return {"least_p_value": min(p_values)} if p_values else {}


def _invalid_reason(findings: Sequence[Finding]) -> Reason:
    for finding in findings:
        if finding.state == "flag" and "fault" in finding.evidence:
            numbers = {
                name: float(value)
                for name, value in finding.evidence.items()
                if isinstance(value, (int, float))
            }
            return Reason(f"{INVALID}:{finding.evidence['fault']}", numbers)
    return Reason(INVALID)
