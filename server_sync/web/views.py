"""What the pages show, made ready for the templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from server_sync.curation import queries, words
from server_sync.domain import Sample, SampleKey, State

_BARS = 8
ORDERS: Mapping[queries.Order, str] = {"value": "Most valuable first", "sequence": "As captured"}


@dataclass(frozen=True, slots=True)
class Selection:
    """What a reviewer is looking at: filter, order and page, as they stand in the address."""

    wanted: queries.Filter
    order: queries.Order = "value"
    page: int = 1

    def query(self, **changes: str | int | None) -> str:
        """The address's query with something changed; the page starts anew unless given."""
        values: dict[str, str | int | None] = {
            "reason": self.wanted.reason,
            "class": self.wanted.label,
            "device": self.wanted.device,
            "survey": self.wanted.survey,
            "outcome": None if self.wanted.outcome == "pictures" else str(self.wanted.outcome),
            "sort": None if self.order == "value" else self.order,
        }
        values |= changes
        if values.get("page") == 1:
            values["page"] = None
        given = {name: value for name, value in values.items() if value is not None}
        return f"?{urlencode(given)}" if given else ""

    @property
    def narrowed(self) -> bool:
        """Whether anything is filtered out that could be let in."""
        return self.wanted != queries.Filter(outcome="pictures")


def selection(parameters: Mapping[str, str]) -> Selection:
    """The selection that an address asks for; what makes no sense is left out."""

    def text(name: str) -> str | None:
        return parameters.get(name, "")[:256].replace("\0", "") or None

    outcome: queries.Outcome = "pictures"
    named = text("outcome")
    if named == "all":
        outcome = "all"
    elif named in list(State):
        outcome = State(named)
    page = parameters.get("page", "1")
    return Selection(
        queries.Filter(text("reason"), text("class"), text("device"), text("survey"), outcome),
        "sequence" if parameters.get("sort") == "sequence" else "value",
        max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
    )


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in force, and the address without it."""

    name: str
    value: str
    without: str


def chips(chosen: Selection) -> list[Chip]:
    """The filters in force."""
    wanted = chosen.wanted
    pairs = [
        ("reason", "Reason", wanted.reason and words.reason_name(wanted.reason)),
        ("class", "Class", wanted.label),
        ("device", "Device", wanted.device),
        ("survey", "Survey", wanted.survey),
        ("outcome", "Outcome", None if wanted.outcome == "pictures" else str(wanted.outcome)),
    ]
    return [
        Chip(name, value, chosen.query(**{parameter: None}))
        for parameter, name, value in pairs
        if value
    ]


def sample_path(key: SampleKey) -> str:
    """The address of a sample's page."""
    return f"/samples/{quote(key.device, safe='')}/{key.sample_id}"


@dataclass(frozen=True, slots=True)
class Bar:
    """A labelled share, for drawing."""

    label: str
    share: float
    """From 0 to 1, whatever the device said."""
    text: str


def class_bars(sample: Sample) -> list[Bar]:
    """The most probable classes, and the rest together."""
    shown = sample.probabilities[:_BARS]
    bars = [Bar(name, _drawn(share), words.percent(share)) for name, share in shown]
    rest = len(sample.probabilities) - len(shown)
    if rest > 0:
        share = sum(each for _, each in sample.probabilities[_BARS:])
        bars.append(Bar(f"{rest} others", _drawn(share), words.percent(share)))
    return bars


def _drawn(share: float) -> float:
    return min(max(share, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A score with its rank among familiar tiles."""

    name: str
    value: str
    p_value: str | None
    beyond: float | None
    """Share of familiar tiles that are less strange, for drawing."""
    beyond_text: str
    unusual: bool
    """p at or below 0.05."""


def score_rows(sample: Sample) -> list[ScoreRow]:
    """All scores, the least usual first."""
    rows = []
    for name in sorted(sample.scores, key=lambda name: sample.p_values.get(name, 2.0)):
        p_value = sample.p_values.get(name)
        rows.append(
            ScoreRow(
                name,
                words.number(sample.scores[name]),
                None if p_value is None else words.number(p_value, 2),
                None if p_value is None else _drawn(1.0 - p_value),
                "" if p_value is None else words.share_beyond(p_value),
                p_value is not None and p_value <= 0.05,
            )
        )
    return rows


def ground_size(sample: Sample, width: int, height: int) -> str:
    """Pixels and, where known, metres."""
    text = f"{width} × {height} px"
    if sample.gsd_m is None:
        return text
    wide, high = words.number(width * sample.gsd_m), words.number(height * sample.gsd_m)
    return f"{text}, {wide} × {high} m at {words.number(sample.gsd_m)} m per pixel"


def moment(milliseconds: int | None) -> str:
    """A time of base's clock."""
    if milliseconds is None:
        return "not yet"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(milliseconds: int, now_ms: int) -> str:
    """How long since, roughly."""
    seconds = max(0, (now_ms - milliseconds) // 1000)
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


def on_page(chosen: Selection, page: int) -> Selection:
    """The same on another page."""
    return replace(chosen, page=page)
