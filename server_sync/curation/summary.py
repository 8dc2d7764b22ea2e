"""The store and its devices at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from server_sync.store import counters
from server_sync.store.schema import device_status, devices, parts, pictures, quarantine, samples


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts and bytes."""

    samples: int
    outcomes: Mapping[str, int]
    surveys: int
    devices: int
    pictures: int
    picture_bytes: int
    under_way_bytes: int
    """Received of pixels that are not whole yet."""
    quarantined: int
    counters: Mapping[str, int]
    """Since the store began."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Whether a rule is at work on a device, and if not, why not."""

    name: str
    active: bool
    reason: str


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What a device last told of itself."""

    device: str
    seen_ms: int
    online: bool | None
    """None when it never said."""
    agent_version: str | None
    samples: int
    status_ms: int | None
    survey: str | None
    bundle: str | None
    policy: str | None
    counters: Mapping[str, int]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that was not understood."""

    at_ms: int
    topic: str
    size: int
    error: str


def totals(connection: Connection) -> Totals:
    """Count everything."""
    by_state = select(samples.c.state, func.count()).group_by(samples.c.state)
    outcomes = {row[0]: row[1] for row in connection.execute(by_state)}
    picture_count, picture_bytes = connection.execute(
        select(func.count(), func.coalesce(func.sum(pictures.c.size), 0))
    ).one()
    return Totals(
        samples=sum(outcomes.values()),
        outcomes=dict(sorted(outcomes.items())),
        surveys=_number(connection, select(func.count(samples.c.survey.distinct()))),
        devices=_number(connection, select(func.count()).select_from(devices)),
        pictures=picture_count,
        picture_bytes=int(picture_bytes),
        under_way_bytes=_number(connection, select(func.coalesce(func.sum(parts.c.size), 0))),
        quarantined=_number(connection, select(func.count()).select_from(quarantine)),
        counters=counters.read(connection),
    )


def device_states(connection: Connection) -> list[DeviceState]:
    """All devices, by name."""
    by_device = select(samples.c.device, func.count()).group_by(samples.c.device)
    per_device = {row[0]: row[1] for row in connection.execute(by_device)}
    joined = devices.outerjoin(device_status, device_status.c.device == devices.c.device)
    query = select(devices, *(c for c in device_status.c if c.name != "device"))
    rows = connection.execute(query.select_from(joined).order_by(devices.c.device))
    return [
        DeviceState(
            device=row.device,
            seen_ms=row.seen_ms,
            online=row.online,
            agent_version=row.agent_version,
            samples=per_device.get(row.device, 0),
            status_ms=row.status_ms,
            survey=row.survey,
            bundle=row.bundle,
            policy=row.policy,
            counters=row.counters or {},
            rules=tuple(
                Rule(each["rule"], each["active"], each.get("reason", ""))
                for each in row.rules or ()
            ),
        )
        for row in rows
    ]


def quarantined(connection: Connection, limit: int) -> list[Quarantined]:
    """The latest that was set aside."""
    table = quarantine.c
    query = select(table.at_ms, table.topic, table.size, table.error)
    rows = connection.execute(query.order_by(table.id.desc()).limit(limit))
    return [Quarantined(row.at_ms, row.topic, row.size, row.error) for row in rows]


def _number(connection: Connection, query: Any) -> int:
    return int(connection.execute(query).scalar_one())
