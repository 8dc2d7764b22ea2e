"""The outbox as the sync loop sees it: it waits for a lock, and checks pixels before sending."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from edge_agent.records import outbox
from edge_agent.records.database import Database
from edge_agent.selection.budget import priority
from edge_agent.uplink.events import Candidate
from operations.errors import OperatorError, Problem
from sync_protocol.messages import Chunk, SampleDescription, Settlement

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

LOCKED_PATIENCE_S: Final = 60.0
_RETRY_S: Final = 0.2
_CACHE_BYTES: Final = 32 * 1024 * 1024


@contextmanager
def only_sync(database: Path) -> Iterator[None]:
    """Hold the place of the one sync on this database.

    Raises:
        OperatorError: another one is at work, or the folder cannot be written.
    """
    lock = database.with_name(database.name + ".sync-lock")
    try:
        with lock.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise OperatorError(
            "another sync is at work on this outbox",
            [Problem(f"{lock} is held", "wait for it, or stop edge-agent-sync.service first")],
        ) from error


class OutboxShelf:
    """The outbox of one device, asked in the exchange's words.

    Every call waits while another process holds the database, up to `LOCKED_PATIENCE_S`.

    Raises, all of them:
        OperatorError: the database stays locked, or cannot be used.
    """

    def __init__(self, database: Database, inline_max_bytes: int) -> None:
        self._database = database
        self._inline_max_bytes = inline_max_bytes
        self._payloads: dict[str, bytes] = {}

    def waiting(self) -> int:
        """Samples still to be sent; those in quarantine do not count."""
        return self._patiently(lambda: outbox.statistics(self._database)).waiting

    def candidates(self, limit: int, excluding: frozenset[str]) -> tuple[Candidate, ...]:
        """Up to `limit` waiting samples, the most valuable first, small ones with their pixels."""
        queued = self._patiently(lambda: outbox.next_samples(self._database, limit, excluding))
        found = []
        for sample in queued:
            inline = None
            if sample.payload_size <= self._inline_max_bytes:
                payload = self._intact_payload(sample.description)
                inline = payload if isinstance(payload, bytes) else None
            found.append(
                Candidate(
                    description=sample.description,
                    priority=priority(sample.description.value, sample.payload_size),
                    attempts=sample.attempts,
                    inline=inline,
                )
            )
        return tuple(found)

    def chunk(self, description: SampleDescription, offset: int, end: int) -> Chunk | str | None:
        """Bytes `offset` up to `end` of a payload; what is wrong with it; or None if it is gone."""
        payload = self._intact_payload(description)
        if not isinstance(payload, bytes):
            return payload
        data = payload[offset:end]
        if end == len(payload):
            self._payloads.pop(description.sample_id, None)
        return Chunk(
            sample_id=description.sample_id,
            payload_sha256=description.payload_sha256,
            payload_size=description.payload_size,
            offset=offset,
            crc32=zlib.crc32(data),
            data=data,
        )

    def mark(self, sample_ids: tuple[str, ...]) -> None:
        """Persist one more attempt for each."""
        self._patiently(lambda: outbox.record_attempt(self._database, sample_ids, time.time()))

    def refund(self, sample_ids: tuple[str, ...]) -> None:
        """Take one attempt of each back."""
        self._patiently(lambda: outbox.refund_attempt(self._database, sample_ids))

    def settle(self, settlements: tuple[Settlement, ...]) -> None:
        """Base has committed: these leave the outbox."""
        self._patiently(lambda: outbox.settle(self._database, settlements, time.time()))
        for settlement in settlements:
            self._payloads.pop(settlement.sample_id, None)

    def quarantine(self, sample_id: str, reason: str) -> None:
        """Set a sample aside."""
        _log.warning("sample set aside sample=%s: %s", sample_id, reason)
        self._patiently(lambda: outbox.quarantine(self._database, sample_id, reason))
        self._payloads.pop(sample_id, None)

    def next_birth(self) -> int:
        """The number of the connection about to be made."""
        return self._patiently(lambda: outbox.next_birth(self._database))

    def _intact_payload(self, description: SampleDescription) -> bytes | str | None:
        sample_id = description.sample_id
        payload = self._payloads.get(sample_id)
        if payload is not None:
            return payload
        payload = self._patiently(lambda: outbox.payload(self._database, sample_id))
        if payload is None:
            return None
        if (
            len(payload) != description.payload_size
            or hashlib.sha256(payload).digest() != description.payload_sha256
        ):
            return "the stored pixels do not match their checksum"
        held = sum(map(len, self._payloads.values()))
        if held + len(payload) > _CACHE_BYTES:
            self._payloads.clear()
        self._payloads[sample_id] = payload
        return payload

    def _patiently(self, work: Callable[[], Result]) -> Result:
        deadline = time.monotonic() + LOCKED_PATIENCE_S
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if time.monotonic() > deadline or not _is_busy(error):
                    raise _unusable(error) from error
                _log.warning("waiting for the database: %s", error)
            except sqlite3.DatabaseError as error:
                raise _unusable(error) from error
            time.sleep(_RETRY_S)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code, without the extension
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)


def _unusable(error: sqlite3.Error) -> OperatorError:
    return OperatorError(
        "the outbox cannot be used",
        [Problem(str(error), "check the disk and the database of records.database")],
    )
