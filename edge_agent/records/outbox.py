"""The queue as the sync daemon sees it: what waits, what was tried, what base has settled."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from edge_agent.records.counters import DEVICE, Changes, advance, read_counter
from edge_agent.records.database import Database
from edge_agent.records.events import write_event
from edge_agent.records.identity import storable
from edge_agent.records.removal import id_bytes, outbox_row, set_aside, take_out
from edge_agent.records.settling import settle_one, tell_refused
from edge_agent.records.values import OutboxState, QueuedSample, SettleResult
from sync_protocol.messages import SampleDescription, Settlement

_decoder: Final = msgspec.msgpack.Decoder(SampleDescription)
_TRIED: Final = "SELECT count(*) FROM outbox WHERE attempts > 0 AND quarantined = 0"
# Tiles are numbered in the order in which they came.
_OLDEST: Final = "SELECT queued_at FROM outbox ORDER BY tile_id LIMIT 1"


def next_samples(
    database: Database, limit: int, excluding: Collection[str] = ()
) -> list[QueuedSample]:
    """Up to `limit` waiting samples, the highest key first, of equals the oldest; quarantined
    ones and `excluding` left out."""
    left_out = {id_bytes(sample_id) for sample_id in excluding}
    with database.named_errors():
        connection = database.connection
        walk = connection.execute(
            "SELECT tile_id, sample_id FROM outbox WHERE quarantined = 0"
            " ORDER BY priority DESC, tile_id LIMIT ?",
            (limit + len(left_out),),
        )
        chosen = [row[0] for row in walk if row[1] not in left_out][:limit]
        rows = connection.execute(
            "SELECT sample_id, description, size, attempts, priority, missing"  # noqa: S608
            " FROM outbox"
            f" WHERE tile_id IN ({', '.join('?' * len(chosen))})"
            " ORDER BY priority DESC, tile_id",
            chosen,
        ).fetchall()
    return [
        QueuedSample(sample_id.hex(), _decoder.decode(description), size, attempts, key, missing)
        for sample_id, description, size, attempts, key, missing in rows
    ]


def queued_sample(database: Database, sample_id: str) -> QueuedSample | None:
    """One sample, quarantined or not; None if it is not in the outbox."""
    with database.named_errors():
        row = database.connection.execute(
            "SELECT description, size, attempts, priority, missing FROM outbox"
            " WHERE tile_id = (SELECT id FROM tile WHERE sample_id = ?)",
            (id_bytes(sample_id),),
        ).fetchone()
    return None if row is None else QueuedSample(sample_id, _decoder.decode(row[0]), *row[1:])


def sample_ids(database: Database, *, quarantined: bool) -> list[str]:
    """Ids of all samples that are set aside, or of all that wait."""
    with database.named_errors():
        rows = database.connection.execute(
            "SELECT sample_id FROM outbox WHERE quarantined = ? ORDER BY tile_id",
            (int(quarantined),),
        ).fetchall()
    return [sample_id.hex() for (sample_id,) in rows]


def payload(database: Database, sample_id: str) -> bytes | None:
    """The encoded pixels of a sample, None if it is not in the outbox (any more)."""
    with database.named_errors():
        row = database.connection.execute(
            "SELECT data FROM payload WHERE tile_id = (SELECT id FROM tile WHERE sample_id = ?)",
            (id_bytes(sample_id),),
        ).fetchone()
    return None if row is None else bytes(row[0])


def record_attempt(
    database: Database, ids: Iterable[str], now: float, *, missing: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Count one more attempt to send, before anything is sent; the counts of those still there.

    `missing`: bytes that base lacks of each as the attempt begins, where known.
    """
    with database.writing() as connection:
        counts = _change_attempts(
            connection,
            ids,
            "UPDATE outbox SET attempts = attempts + 1, started = 1, attempted_at = ?"
            " WHERE tile_id = ?",
            (now,),
        )
        connection.executemany(
            "UPDATE outbox SET missing = ?"
            " WHERE tile_id = (SELECT id FROM tile WHERE sample_id = ?)",
            [(size, id_bytes(sample_id)) for sample_id, size in (missing or {}).items()],
        )
        return counts


def refund_attempt(database: Database, ids: Iterable[str]) -> dict[str, int]:
    """Take one attempt back: it was the link's fault; the counts of those still there."""
    with database.writing() as connection:
        return _change_attempts(
            connection,
            ids,
            "UPDATE outbox SET attempts = max(attempts - 1, 0) WHERE tile_id = ?",
            (),
        )


def settle(
    database: Database, settlements: Sequence[Settlement], now: float, *, sent_bytes: int = 0
) -> SettleResult:
    """What base has committed leaves the outbox, and the ledger keeps how it ended.

    What base refused (`rejected`, `unsupported`) is set aside with base's words instead: one wrong
    setting at base must not cost a flight. An operator sends it again, or drops it.

    `sent_bytes`: payload bytes sent since the last call, counted in the same transaction.
    """
    changes = Changes()
    changes.add(DEVICE, "payload_bytes_sent", sent_bytes)
    counts = dict.fromkeys(("removed", "set_aside", "late", "repeated", "unknown"), 0)
    with database.writing() as connection:
        for settlement in settlements:
            effect = settle_one(connection, settlement, changes, now)
            counts[effect] += 1
            if effect == "set_aside":
                tell_refused(connection, settlement, now)
        changes.add(DEVICE, "receipts_unknown", counts["unknown"])
        changes.write(connection)
    if counts["removed"]:
        database.release_space()
    return SettleResult(**counts)


def quarantine(database: Database, sample_id: str, reason: str) -> bool:
    """Set a sample aside until an operator retries or drops it; False if it is not waiting."""
    now = time.time()
    with database.writing() as connection:
        row = outbox_row(connection, sample_id)
        if row is None or row.quarantined:
            return False
        changes = Changes()
        text = storable(reason)
        set_aside(connection, row, text, changes, now)
        changes.write(connection)
        write_event(connection, "quarantine", f"sample {sample_id}: {text}", now)
    return True


def retry(database: Database, ids: Iterable[str]) -> list[str]:
    """Queue samples again with no attempt counted; those that were in the outbox."""
    done: list[str] = []
    now = time.time()
    with database.writing() as connection:
        changes = Changes()
        for sample_id in ids:
            row = outbox_row(connection, sample_id)
            if row is None:
                continue
            connection.execute(
                "UPDATE outbox SET quarantined = 0, attempts = 0 WHERE tile_id = ?", (row.tile_id,)
            )
            if row.quarantined:
                connection.execute(
                    "UPDATE tile SET delivery = 'queued', delivery_detail = NULL,"
                    " delivery_at = ? WHERE id = ?",
                    (now, row.tile_id),
                )
                changes.moved(row.survey_id, "quarantined", "queued", row.size)
            done.append(sample_id)
        changes.write(connection)
    return done


def drop(database: Database, ids: Iterable[str]) -> list[str]:
    """Delete samples for good, at an operator's word; those that were in the outbox."""
    done: list[str] = []
    now = time.time()
    with database.writing() as connection:
        changes = Changes()
        for sample_id in ids:
            row = outbox_row(connection, sample_id)
            if row is not None:
                take_out(connection, row, "dropped", changes, now, detail="by the operator")
                done.append(sample_id)
        changes.write(connection)
    database.release_space()
    return done


def statistics(database: Database) -> OutboxState:
    """The outbox in numbers."""
    with database.reading() as connection:
        return read_state(connection)


def read_state(connection: sqlite3.Connection) -> OutboxState:
    """As `statistics`, inside a transaction."""
    (quarantined,) = connection.execute(
        "SELECT coalesce(sum(value), 0) FROM counter WHERE name = 'delivery:quarantined'"
    ).fetchone()
    (tried,) = connection.execute(_TRIED).fetchone()
    oldest = connection.execute(_OLDEST).fetchone()
    return OutboxState(
        waiting=read_counter(connection, DEVICE, "outbox_rows") - quarantined,
        quarantined=quarantined,
        bytes=read_counter(connection, DEVICE, "outbox_bytes"),
        tried=tried,
        oldest_queued_at=oldest[0] if oldest else None,
    )


def next_birth(database: Database) -> int:
    """Count a connection to the broker; its number, higher than any before."""
    with database.writing() as connection:
        return advance(connection, "birth")


def _change_attempts(
    connection: sqlite3.Connection, ids: Iterable[str], update: str, values: tuple[object, ...]
) -> dict[str, int]:
    counts: dict[str, int] = {}
    for sample_id in ids:
        row = outbox_row(connection, sample_id)
        if row is None:
            continue
        connection.execute(update, (*values, row.tile_id))
        counts[sample_id] = connection.execute(
            "SELECT attempts FROM outbox WHERE tile_id = ?", (row.tile_id,)
        ).fetchone()[0]
    return counts
