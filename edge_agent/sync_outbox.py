"""The outbox as the sync loop sees it: the exchange's words, and pixels checked before sending."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.records import outbox
from edge_agent.records.database import Database
from edge_agent.records.drift import DriftRow
from edge_agent.records.overview import overview, totals
from edge_agent.uplink.events import Candidate
from operations.errors import OperatorError, Problem
from sync_protocol.messages import (
    Chunk,
    RuleState,
    SampleDescription,
    Settlement,
    Status,
)

_log = logging.getLogger(__name__)

_CACHE_BYTES: Final = 32 * 1024 * 1024
_STATUS_COUNTERS: Final = 128
_FOREIGN: Final = "foreign_survey"


@contextmanager
def only_sync(database: Path) -> Iterator[None]:
    """Hold the place of the one sync on this database.

    Raises:
        OperatorError: another one is at work, or the folder cannot be written.
    """
    lock = database.with_name(database.name + ".sync-lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("w")
    except OSError as error:
        raise OperatorError(
            f"{lock} cannot be written",
            [Problem(str(error), "check the folder of records.database and its permissions")],
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OperatorError(
                "another sync is at work on this outbox",
                [Problem(f"{lock} is held", "wait for it, or stop edge-agent-sync.service first")],
            ) from error
        yield


@dataclass(frozen=True, slots=True)
class Settled:
    """What a receipt did to the outbox."""

    removed: dict[str, int]
    """Outcome -> samples that left."""
    set_aside: int
    """Samples that base refused: they stay, in quarantine."""


class Shelf:
    """The outbox of one device, asked in the exchange's words."""

    def __init__(self, database: Database, inline_max_bytes: int) -> None:
        self._database = database
        self._inline_max_bytes = inline_max_bytes
        self._payloads: dict[str, bytes] = {}
        self._sent_bytes = 0

    def is_empty(self) -> bool:
        """Whether nothing is left to send; what is in quarantine is not."""
        return not outbox.next_samples(self._database, 1)

    def waiting(self) -> int:
        """Samples still to be sent."""
        return outbox.statistics(self._database).waiting

    def candidates(self, limit: int, excluding: frozenset[str]) -> tuple[Candidate, ...]:
        """Up to `limit` waiting samples, the most valuable first, small ones with their pixels."""
        return tuple(
            Candidate(
                description=sample.description,
                priority=sample.priority,
                attempts=sample.attempts,
                missing=sample.missing,
                inline=self._inline(sample.description),
            )
            for sample in outbox.next_samples(self._database, limit, excluding)
        )

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

    def mark(self, missing: dict[str, int]) -> None:
        """Persist one more attempt for each."""
        outbox.record_attempt(self._database, missing, time.time(), missing=missing)

    def refund(self, sample_ids: tuple[str, ...]) -> None:
        """Take one attempt of each back."""
        outbox.refund_attempt(self._database, sample_ids)

    def sent(self, size: int) -> None:
        """Note payload bytes handed to the link; counted with the next receipt."""
        self._sent_bytes += size

    def settle(self, settlements: tuple[Settlement, ...]) -> Settled:
        """Base has committed: these leave the outbox, or go to quarantine if it refused them."""
        removed: dict[str, int] = {}
        set_aside = 0
        for outcome in sorted({settlement.outcome for settlement in settlements}):
            group = [one for one in settlements if one.outcome == outcome]
            sent_bytes, self._sent_bytes = self._sent_bytes, 0
            result = outbox.settle(self._database, group, time.time(), sent_bytes=sent_bytes)
            if result.removed:
                removed[outcome] = result.removed
            if result.set_aside:
                set_aside += result.set_aside
                reasons = sorted({one.detail for one in group if one.detail})
                _log.warning(
                    "base refused %d samples (%s), set aside: %s",
                    result.set_aside,
                    outcome,
                    "; ".join(reasons) or "no reason given",
                )
        for settlement in settlements:
            self._payloads.pop(settlement.sample_id, None)
        return Settled(removed, set_aside)

    def quarantine(self, sample_id: str, reason: str) -> None:
        """Set a sample aside."""
        _log.warning("sample set aside: %s", reason, extra={"sample": sample_id})
        outbox.quarantine(self._database, sample_id, reason)
        self._payloads.pop(sample_id, None)

    def next_birth(self) -> int:
        """The number of the connection about to be made."""
        return outbox.next_birth(self._database)

    def status(self, agent_version: str) -> Status:
        """How things stand, for base.

        Of the rules only `foreign_survey`, of the latest survey: which others were at work is the
        filter's to know, and not in the records.
        """
        state = overview(self._database, events=0, failures=0)
        counters = totals(self._database)
        counters["outbox_quarantined"] = state.outbox.quarantined
        latest = state.surveys[-1] if state.surveys else None
        return Status(
            boot=state.boot,
            agent_version=agent_version,
            survey=None if latest is None else latest.name,
            bundle=None if latest is None else latest.bundle,
            policy=None if latest is None else latest.policy,
            counters=dict(sorted(counters.items())[:_STATUS_COUNTERS]),
            rules=() if latest is None or latest.drift is None else (_foreign(latest.drift),),
        )

    def _inline(self, description: SampleDescription) -> bytes | None:
        if description.payload_size > self._inline_max_bytes:
            return None
        payload = outbox.payload(self._database, description.sample_id)
        return payload if payload is not None and _is_intact(payload, description) else None

    def _intact_payload(self, description: SampleDescription) -> bytes | str | None:
        payload = self._payloads.get(description.sample_id)
        if payload is not None:
            return payload
        payload = outbox.payload(self._database, description.sample_id)
        if payload is None:
            return None
        if not _is_intact(payload, description):
            return "the stored pixels do not match their checksum"
        if sum(map(len, self._payloads.values())) + len(payload) > _CACHE_BYTES:
            self._payloads.clear()
        self._payloads[description.sample_id] = payload
        return payload


def _foreign(drift: DriftRow) -> RuleState:
    """Whether the survey was found to be foreign, or why nobody can tell."""
    if drift.inactive or drift.alarm is None:
        return RuleState(rule=_FOREIGN, active=not drift.inactive, reason=drift.inactive)
    votes, bound = drift.alarm.votes, drift.alarm.at_least
    found = f"the survey is foreign: {votes} votes, at least {bound:.1%} of the ground strange"
    return RuleState(rule=_FOREIGN, active=True, reason=found)


def _is_intact(payload: bytes, description: SampleDescription) -> bool:
    return (
        len(payload) == description.payload_size
        and hashlib.sha256(payload).digest() == description.payload_sha256
    )
