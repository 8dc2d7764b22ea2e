"""Samples found by filter, in a stable order, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, or_, select

from server_sync.domain import WITH_PICTURE, Finding, Reason, Sample, SampleKey, State
from server_sync.store.schema import sample_reasons, samples

Order = Literal["value", "sequence"]
Outcome = Literal["pictures", "all"] | State

_TABLE = samples.c
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Filter:
    """Which samples; None and "all" let everything through."""

    reason: str | None = None
    """A code, or its part before the colon: `score` finds `score:entropy` and its sisters."""
    label: str | None = None
    device: str | None = None
    survey: str | None = None
    outcome: Outcome = "all"
    """`pictures`: those whose pixels are here, once each or shared."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A value to filter by, and how many samples the filter would then find."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to filter by, each list under the other filters."""

    reasons: tuple[Choice, ...]
    labels: tuple[Choice, ...]
    devices: tuple[Choice, ...]
    surveys: tuple[Choice, ...]
    outcomes: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Spot:
    """A sample's place on the survey's map, in degrees on WGS 84."""

    key: SampleKey
    longitude: float
    latitude: float
    sigma_m: float | None


def find(
    connection: Connection,
    wanted: Filter,
    order: Order = "value",
    limit: int | None = None,
    offset: int = 0,
) -> list[Sample]:
    """Samples in order: the most valuable first, or by device, boot and sequence."""
    query = select(samples).where(condition(wanted)).order_by(*_ordering(order))
    return [_sample(row) for row in connection.execute(query.limit(limit).offset(offset))]


def every(connection: Connection, wanted: Filter) -> Iterator[Sample]:
    """All samples by device, boot and sequence, read a batch at a time."""
    query = select(samples).where(condition(wanted)).order_by(*_ordering("sequence"))
    for row in connection.execution_options(yield_per=_BATCH).execute(query):
        yield _sample(row)


def count(connection: Connection, wanted: Filter) -> int:
    """How many samples the filter finds."""
    query = select(func.count()).select_from(samples).where(condition(wanted))
    return connection.execute(query).scalar_one()


def get(connection: Connection, key: SampleKey) -> Sample | None:
    """One sample."""
    query = select(samples).where(_TABLE.device == key.device, _TABLE.sample_id == key.sample_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _sample(row)


def by_prefix(
    connection: Connection, prefix: str, device: str | None = None, limit: int = 10
) -> list[Sample]:
    """Samples whose id begins with `prefix` (hex digits)."""
    query = select(samples).where(_TABLE.sample_id.startswith(prefix, autoescape=True))
    if device is not None:
        query = query.where(_TABLE.device == device)
    query = query.order_by(_TABLE.sample_id, _TABLE.device).limit(limit)
    return [_sample(row) for row in connection.execute(query)]


def neighbours(
    connection: Connection, wanted: Filter, sample: Sample, order: Order
) -> tuple[SampleKey | None, SampleKey | None]:
    """The samples before and after this one, in the filter's order."""
    keys = select(_TABLE.device, _TABLE.sample_id).where(condition(wanted))
    before = keys.where(_precedes(sample, order, after=False))
    before = before.order_by(*_ordering(order, backwards=True)).limit(1)
    after = keys.where(_precedes(sample, order, after=True))
    after = after.order_by(*_ordering(order)).limit(1)
    return _one_key(connection, before), _one_key(connection, after)


def choices(connection: Connection, wanted: Filter) -> Choices:
    """The values that each filter could take while the others stay as they are."""

    def grouped(column: ColumnElement[Any], others: Filter) -> tuple[Choice, ...]:
        return _counted(
            connection,
            select(column, func.count())
            .where(condition(others), column.is_not(None))
            .group_by(column),
        )

    code = sample_reasons.c.code
    joined = and_(
        sample_reasons.c.device == _TABLE.device, sample_reasons.c.sample_id == _TABLE.sample_id
    )
    reasons = select(code, func.count()).select_from(samples.join(sample_reasons, joined))
    return Choices(
        reasons=_counted(
            connection, reasons.where(condition(replace(wanted, reason=None))).group_by(code)
        ),
        labels=grouped(_TABLE.label, replace(wanted, label=None)),
        devices=grouped(_TABLE.device, replace(wanted, device=None)),
        surveys=grouped(_TABLE.survey, replace(wanted, survey=None)),
        outcomes=grouped(_TABLE.state, replace(wanted, outcome="all")),
    )


def spots(connection: Connection, survey: str, limit: int = 5000) -> list[Spot]:
    """Where the samples of a survey lie; those without a place are left out."""
    query = (
        select(_TABLE.device, _TABLE.sample_id, _TABLE.longitude, _TABLE.latitude, _TABLE.sigma_m)
        .where(_TABLE.survey == survey, _TABLE.longitude.is_not(None), _TABLE.latitude.is_not(None))
        .order_by(_TABLE.value.desc())
        .limit(limit)
    )
    return [
        Spot(SampleKey(row.device, row.sample_id), row.longitude, row.latitude, row.sigma_m)
        for row in connection.execute(query)
    ]


def condition(wanted: Filter) -> ColumnElement[bool]:
    """The filter as SQL."""
    parts: list[ColumnElement[bool]] = [_TABLE.device.is_not(None)]
    if wanted.reason is not None:
        code = sample_reasons.c.code
        named = or_(code == wanted.reason, code.startswith(f"{wanted.reason}:", autoescape=True))
        parts.append(
            select(sample_reasons.c.code)
            .where(
                sample_reasons.c.device == _TABLE.device,
                sample_reasons.c.sample_id == _TABLE.sample_id,
                named,
            )
            .exists()
        )
    pairs = (
        (_TABLE.label, wanted.label),
        (_TABLE.device, wanted.device),
        (_TABLE.survey, wanted.survey),
    )
    parts += [column == value for column, value in pairs if value is not None]
    if wanted.outcome == "pictures":
        parts.append(_TABLE.state.in_([str(state) for state in WITH_PICTURE]))
    elif wanted.outcome != "all":
        parts.append(_TABLE.state == str(wanted.outcome))
    return and_(*parts)


def _ordering(order: Order, *, backwards: bool = False) -> Sequence[ColumnElement[Any]]:
    columns = _columns(order)
    return [
        column.desc() if descending != backwards else column.asc()
        for column, descending, _ in columns
    ]


def _columns(order: Order) -> list[tuple[ColumnElement[Any], bool, str]]:
    """Column, whether it descends, and the attribute of `Sample` it stands for."""
    last = [(_TABLE.device, False, "device"), (_TABLE.sample_id, False, "sample_id")]
    if order == "value":
        return [(_TABLE.value, True, "value"), *last]
    return [
        (_TABLE.device, False, "device"),
        (_TABLE.boot, False, "boot"),
        (_TABLE.sequence, False, "sequence"),
        (_TABLE.sample_id, False, "sample_id"),
    ]


def _precedes(sample: Sample, order: Order, *, after: bool) -> ColumnElement[bool]:
    """The rows on one side of `sample`: greater in the first column that differs."""
    options: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for column, descending, name in _columns(order):
        source = sample.key if name in ("device", "sample_id") else sample
        value = getattr(source, name)
        options.append(and_(*equal, column < value if descending == after else column > value))
        equal.append(column == value)
    return or_(*options)


def _one_key(connection: Connection, query: Select[Any]) -> SampleKey | None:
    row = connection.execute(query).one_or_none()
    return None if row is None else SampleKey(row.device, row.sample_id)


def _counted(connection: Connection, query: Select[Any]) -> tuple[Choice, ...]:
    rows = [Choice(value, number) for value, number in connection.execute(query)]
    return tuple(sorted(rows, key=lambda choice: (-choice.count, choice.value)))


_PLAIN = [
    each.name
    for each in fields(Sample)
    if each.name not in ("key", "state", "probabilities", "findings", "reasons")
]


def _sample(row: Row[Any]) -> Sample:
    values = row._mapping
    return Sample(
        key=SampleKey(values["device"], values["sample_id"]),
        state=State(values["state"]),
        probabilities=tuple((name, number) for name, number in values["probabilities"]),
        findings=tuple(
            Finding(each["rule"], each["state"], each.get("evidence", {}))
            for each in values["findings"]
        ),
        reasons=tuple(Reason(each["code"], each.get("numbers", {})) for each in values["reasons"]),
        **{name: values[name] for name in _PLAIN},
    )
