"""Verdicts, findings and deliveries as an operator reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edge_agent.domain import Finding, Reason
from edge_agent.records.lookup import TileRecord
from edge_agent.selection.policy import (
    AUDIT,
    DUPLICATE,
    FAMILIAR,
    FOREIGN,
    INVALID,
    SCORE,
    UNJUDGED,
)

_FAULTS: Final = {
    "nodata": "too much of it has no data",
    "constant": "all of it has one colour",
    "logits-nan": "the model gave it a logit that is no number",
    "logits-inf": "the model gave it an infinite logit",
    "logits-none": "the model gave it no possible class",
    "features-not-finite": "the model gave it an embedding that is not finite",
    "member-logits-nan": "a member of the ensemble gave it a logit that is no number",
    "member-logits-inf": "a member of the ensemble gave it an infinite logit",
    "member-logits-none": "a member of the ensemble gave it no possible class",
}
_DELIVERIES: Final = {
    "queued": "waits in the outbox",
    "quarantined": "is set aside; edge-agent outbox retry sends it again",
    "stored": "is stored at base",
    "duplicate": "was at base already",
    "skipped": "was not wanted by base",
    "rejected": "was refused by base",
    "unsupported": "was not understood by base",
    "evicted": "was given up for want of room",
    "dropped": "was deleted by an operator",
}
_STATES: Final = {
    "ok": "nothing unusual",
    "flag": "flagged",
    "unknown": "cannot tell",
    "inactive": "not at work",
}


_FINE: Final = {
    "quality": "there is something to see",
    "novelty": "no kept tile shows the same",
}
"""What `ok` means of the rules we know."""


def verdict_in_words(record: TileRecord) -> str:
    """What was decided, and by which rule."""
    kept = "Kept" if record.columns["kept"] else "Skipped"
    return f"{kept}: {_decided(record)}."


def _decided(record: TileRecord) -> str:
    reasons = record.facts.reasons
    first = reasons[0] if reasons else Reason(str(record.columns["decided"]))
    kind, _, what = first.code.partition(":")
    if kind == SCORE:
        return f"{_beyond(what, first.numbers)}{_unlike(first.numbers)}"
    if kind == FOREIGN:
        return _in_foreign_survey(what, first.numbers)
    if kind == AUDIT:
        share = first.numbers.get("share")
        drawn = "drawn for the audit, whatever it shows"
        return drawn if share is None else f"{drawn} ({share:.3g} of all tiles are)"
    if kind == DUPLICATE:
        return _repeats(record, what, first.numbers)
    if kind == FAMILIAR:
        least = first.numbers.get("least_p_value")
        words = "familiar, no score in use is beyond its quantile"
        return words if least is None else f"{words} (smallest p-value {least:.3g})"
    if kind == UNJUDGED:
        return "nothing to judge by, the bundle has no calibration"
    if kind == INVALID:
        return f"nothing to see, {_FAULTS.get(what, what or 'it cannot be judged')}"
    return reason_in_words(first)


def reason_in_words(reason: Reason) -> str:
    """One reason with its numbers."""
    kind, _, what = reason.code.partition(":")
    if kind == SCORE:
        return _beyond(what, reason.numbers)
    numbers = numbers_in_words(reason.numbers)
    return f"{reason.code} ({numbers})" if numbers else reason.code


def finding_in_words(finding: Finding) -> str:
    """One finding with its evidence."""
    evidence = numbers_in_words(finding.evidence)
    state = _STATES[finding.state]
    if finding.state == "ok":
        state = _FINE.get(finding.rule, state)
    return f"{state} ({evidence})" if evidence else state


def delivery_in_words(columns: Mapping[str, Any]) -> str:
    """What became of the sample."""
    words = _DELIVERIES.get(columns["delivery"], str(columns["delivery"]))
    if columns["attempts"]:
        words += f", tried {columns['attempts']} times"
    detail = columns["delivery_detail"]
    return f"{words}: {detail}" if detail else words


def numbers_in_words(numbers: Mapping[str, float | int | str | bool]) -> str:
    """Names and values on one line."""
    return ", ".join(f"{name.replace('_', ' ')} {_plain(v)}" for name, v in numbers.items())


def _beyond(score: str, numbers: Mapping[str, float]) -> str:
    words = f"{score.replace('_', ' ')} is stranger than that of familiar tiles"
    p_value, quantile = numbers.get("p_value"), numbers.get("quantile")
    if p_value is None or quantile is None:
        return words
    return f"{words}, p-value {p_value:.3g} where the policy keeps up to {1 - quantile:.3g}"


def _unlike(numbers: Mapping[str, float]) -> str:
    """Of a tile kept in a foreign survey: why this one."""
    if "distance" in numbers and "epsilon" in numbers:
        away, epsilon = numbers["distance"], numbers["epsilon"]
        return f"; of a foreign survey, {away:.3g} from every kept tile (alike up to {epsilon:.3g})"
    if "draw" in numbers and "share" in numbers:
        return f"; of the strange tiles of a foreign survey {numbers['share']:.3g} are drawn"
    return ""


def _in_foreign_survey(what: str, numbers: Mapping[str, float]) -> str:
    words = "the whole survey is foreign to the model, "
    if what == "alike":
        away, epsilon = numbers.get("distance"), numbers.get("epsilon")
        words += "and this tile is like a kept one"
        if away is None or epsilon is None:
            return words
        return f"{words} ({away:.3g} from it, up to {epsilon:.3g} is alike)"
    share = numbers.get("share")
    words += "and this tile was not drawn"
    return words if share is None else f"{words} ({share:.3g} of its strange tiles are)"


def _repeats(record: TileRecord, what: str, numbers: Mapping[str, float]) -> str:
    twin = next(
        (f.evidence["duplicate_of"] for f in record.facts.findings if "duplicate_of" in f.evidence),
        "a kept tile",
    )
    if what == "content":
        return f"the same pixels as {twin}"
    distance = numbers.get("distance")
    bits = "" if distance is None else f" ({distance:.0f} of 64 bits of its pHash differ)"
    return f"looks like {twin}{bits}"


def _plain(value: float | int | str | bool) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
