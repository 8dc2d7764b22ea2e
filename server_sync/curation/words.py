"""Why a tile was kept, in words with the numbers. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from server_sync.domain import Finding, Reason, Sample, State


@dataclass(frozen=True, slots=True)
class _Score:
    """How to speak of a score. All are higher = stranger; some are a familiar number negated."""

    name: str
    negated: bool = False


_SCORES: Final = {
    "msp": _Score("top probability", negated=True),
    "max_logit": _Score("maximum logit", negated=True),
    "entropy": _Score("entropy"),
    "margin": _Score("lead over the second class", negated=True),
    "energy": _Score("energy"),
    "gen": _Score("generalised entropy"),
    "mahalanobis_pp": _Score("distance to the nearest class"),
    "rmds_pp": _Score("relative distance to the nearest class"),
    "knn": _Score("distance to the nearest familiar tiles"),
    "vim": _Score("ViM score"),
    "fdbd": _Score("fDBD score"),
    "ensemble_entropy": _Score("entropy of the ensemble"),
    "ensemble_mutual_information": _Score("disagreement within the ensemble"),
    "ood": _Score("combined strangeness"),
}

_WHOLE_REASONS: Final = {
    "audit": "Drawn at random",
    "rare": "A rare class",
    "range": "Out of the range of its class",
    "flicker": "The class flickers between views",
    "class_frequency": "A class more frequent than expected",
    "novel": "Looks like nothing kept before",
    "low_confidence": "The model is not sure",
}

_OUTCOMES: Final = {
    State.WANTED: "Its pixels are on their way.",
    State.STORED: "Its pixels are here.",
    State.DUPLICATE: "Its pixels came with another sample.",
    State.SKIPPED: "Its pixels were not asked for: the fleet has some that look the same.",
    State.REJECTED: "Its pixels could not be used.",
    State.UNSUPPORTED: "Its pixels are of a kind that this base does not take.",
}


def score_name(score: str) -> str:
    """What people call a score."""
    known = _SCORES.get(score)
    return known.name if known is not None else score.replace("_", " ")


def reason_name(code: str) -> str:
    """A reason in two or three words, for a filter or a card."""
    kind, _, what = code.partition(":")
    if kind == "score" and what:
        name = score_name(what)
        negated = what in _SCORES and _SCORES[what].negated
        return f"{'Low' if negated else 'High'} {name}"
    known = _WHOLE_REASONS.get(code) or _WHOLE_REASONS.get(kind)
    if known is None:
        return _sentence(code.replace("_", " ").replace(":", ": "))
    return f"{known} ({what.replace('_', ' ')})" if what else known


def counter_name(name: str) -> str:
    """A device's counter, spaced for reading."""
    return _sentence(name.replace("_", " ").replace(":", ": "))


def counter_value(name: str, value: int) -> str:
    """Bytes as such, other counts in groups of three."""
    return byte_size(value) if "bytes" in name else f"{value:,}".replace(",", "\N{THIN SPACE}")


def main_reason(sample: Sample) -> str:
    """The reason that decided, short."""
    return reason_name(sample.reasons[0].code) if sample.reasons else "No reason given"


def explain(sample: Sample) -> list[str]:
    """One sentence per reason, the one that decided first."""
    return [_explained(sample, reason) for reason in sample.reasons]


def score_sentence(sample: Sample, score: str) -> str:
    """A score against the familiar tiles: "Entropy 1.92 is higher than for 99.1 % of ..."."""
    known = _SCORES.get(score, _Score(score.replace("_", " ")))
    value = sample.scores.get(score)
    p_value = sample.p_values.get(score)
    shown = "" if value is None else f" {number(-value if known.negated else value)}"
    if p_value is None:
        return _sentence(f"{known.name}{shown}.")
    side = "lower" if known.negated else "higher"
    return _sentence(
        f"{known.name}{shown} is {side} than for {share_beyond(p_value)} of familiar tiles "
        f"(p = {number(p_value, 2)})."
    )


_FINE: Final = {
    "quality": "there is something to see",
    "novelty": "the device kept nothing that shows the same",
}
"""What `ok` means of the rules we know."""


def finding_sentence(finding: Finding) -> str:
    """What a rule found, with its evidence."""
    rule = _sentence(finding.rule.replace("_", " "))
    evidence = ", ".join(
        f"{name.replace('_', ' ')} {_shown(value)}" for name, value in finding.evidence.items()
    )
    state = {
        "ok": "nothing unusual",
        "flag": "flagged",
        "unknown": "cannot tell",
        "inactive": "not at work",
    }.get(finding.state, finding.state)
    if finding.state == "ok":
        state = _FINE.get(finding.rule, state)
    return f"{rule}: {state} ({evidence})." if evidence else f"{rule}: {state}."


def outcome_sentence(sample: Sample) -> str:
    """Where the sample stands."""
    sentence = _OUTCOMES[sample.state]
    return f"{sentence} {_sentence(sample.detail)}." if sample.detail else sentence


def share_beyond(p_value: float) -> str:
    """1 - p in percent, never rounded up to all: p = 0.0004 is 99.96 %."""
    if not 0.0 <= p_value <= 1.0:
        return _no_share(1.0 - p_value)
    percent = 100.0 * (1.0 - p_value)
    for digits in (1, 2, 3, 4):
        text = f"{percent:.{digits}f}"
        if p_value <= 0.0 or float(text) < 100.0:
            return f"{text.removesuffix('.0')} %"
    return "more than 99.9999 %"


def percent(share: float) -> str:
    """A share as percent; the very small and the very large keep a digit, and are never whole."""
    if not 0.0 <= share <= 1.0:
        return _no_share(share)
    if 0.0 < share < 0.001:
        return "< 0.1 %"
    if 0.1 <= share < 0.995 or share in (0.0, 1.0):
        return f"{100.0 * share:.0f} %"
    return f"{math.floor(share * 1000.0 + 1e-9) / 10.0:.1f} %"


def _no_share(value: float) -> str:
    """What a device calls a share and is none: told as it is."""
    return f"{number(value)} of 1"


def captured(text: str) -> str:
    """A time as the source states it, to the second: "2025-06-14 08:13:35 UTC"."""
    try:
        stated = datetime.fromisoformat(text).isoformat(sep=" ", timespec="seconds")
    except ValueError:
        return text
    moment, offset = stated[:19], stated[19:]
    if len(text) <= len("2025-06-14"):
        return text
    return f"{moment} {'UTC' if offset == '+00:00' else offset}".rstrip()


def number(value: float, significant: int = 3) -> str:
    """Significant digits, without needless zeros or exponents where none is needed."""
    if value == 0.0 or not math.isfinite(value):
        return f"{value:g}"
    size = abs(value)
    if size < 1e-4 or size >= 1e7:
        return f"{value:.{significant - 1}e}".replace("-", "\N{MINUS SIGN}")
    digits = max(0, significant - 1 - math.floor(math.log10(size)))
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")


def byte_size(count: int) -> str:
    """Bytes for people, in powers of ten."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    units = ["kB", "MB", "GB", "TB"]
    while True:
        size /= 1000.0
        if size < 999.5 or len(units) == 1:
            return f"{size:.1f} {units[0]}" if size < 9.95 else f"{size:.0f} {units[0]}"
        del units[0]


def _explained(sample: Sample, reason: Reason) -> str:
    kind, _, what = reason.code.partition(":")
    if kind == "score" and what:
        sentence = score_sentence(sample, what)
        quantile = reason.numbers.get("quantile")
        if quantile is not None:
            sentence += f" The policy keeps tiles beyond {number(100.0 * quantile)} %."
        return sentence
    if kind == "audit":
        share = reason.numbers.get("share", sample.inclusion_probability)
        drawn = "Drawn at random"
        if share is not None:
            drawn += f" from all valid tiles, {percent(share)} of them"
        return f"{drawn}, to judge the policy by, whatever it shows."
    numbers = ", ".join(
        f"{name.replace('_', ' ')} {number(value)}" for name, value in reason.numbers.items()
    )
    name = reason_name(reason.code)
    return f"{name} ({numbers})." if numbers else f"{name}."


def _shown(value: str | float | int | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    return str(value)


def _sentence(text: str) -> str:
    """With a capital at the start, and only there: ViM stays ViM."""
    return text[:1].upper() + text[1:]
