"""The latest that each device told of itself."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Table, insert, select, update

from server_sync.store.schema import device_status, devices
from sync_protocol import messages as m


def seen(connection: Connection, device: str, now_ms: int) -> None:
    """A message came from this device."""
    _upsert(connection, devices, device, {"seen_ms": now_ms})


def presence(connection: Connection, device: str, message: m.Presence, now_ms: int) -> None:
    """Keep a birth or a last will, unless a later birth is known: wills arrive late."""
    query = select(devices.c.birth).where(devices.c.device == device)
    birth = connection.execute(query).scalar_one_or_none()
    if birth is not None and message.birth < birth:
        return
    values: dict[str, Any] = {
        "online": message.online,
        "birth": message.birth,
        "agent_version": message.agent_version,
    }
    known = connection.execute(
        select(devices.c.device).where(devices.c.device == device)
    ).one_or_none()
    # A will is the broker's word, and a retained message is old: neither is a sign of life,
    # but a device heard of for the first time needs a time.
    if message.online or known is None:
        values["seen_ms"] = now_ms
    _upsert(connection, devices, device, values)


def status(connection: Connection, device: str, message: m.Status, now_ms: int) -> None:
    """Keep the latest counters and rule states."""
    seen(connection, device, now_ms)  # the status row refers to it
    values = {
        "status_ms": now_ms,
        "boot": message.boot,
        "survey": message.survey,
        "bundle": message.bundle,
        "policy": message.policy,
        "counters": dict(message.counters),
        "rules": msgspec.to_builtins(message.rules),
    }
    _upsert(connection, device_status, device, values)


def _upsert(connection: Connection, table: Table, device: str, values: dict[str, Any]) -> None:
    changed = connection.execute(update(table).where(table.c.device == device).values(values))
    if changed.rowcount == 0:
        connection.execute(insert(table).values(values | {"device": device}))
