"""Room in the outbox: the least valuable sample per byte gives way to a better one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain

from edge_agent.records.counters import DEVICE, Changes, read_counter
from edge_agent.records.drift import forget_leader_of
from edge_agent.records.identity import address, address_elsewhere
from edge_agent.records.removal import OutboxRow, outbox_rows, take_out
from edge_agent.records.values import Caps, SampleRef


class Room:
    """The room that is left, inside one transaction.

    Samples that are set aside go first, whatever they are worth: nobody waits for them. Of the
    others one is given up only for one of a higher key. Under the outbox's cap any sample may have
    to go; under a survey's cap only one of that survey whose sending has not begun: bytes once
    sent are spent.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        caps: Caps,
        survey_id: int,
        changes: Changes,
        now: float,
    ) -> None:
        self._connection = connection
        self._caps = caps
        self._survey_id = survey_id
        self._changes = changes
        self._now = now
        self._outbox_bytes = read_counter(connection, DEVICE, "outbox_bytes")
        row = connection.execute("SELECT bytes FROM survey WHERE id = ?", (survey_id,)).fetchone()
        self._survey_bytes = int(row[0])
        self._admitted = 0
        self.evicted: list[SampleRef] = []

    def admit(self, size: int, priority: float) -> bool:
        """Make room for a sample of that size and key; False, and nothing changed, if it is
        worth less than what would have to go."""
        victims = self._victims(size, priority)
        if victims is None:
            return False
        for row in victims:
            self._evict(row)
        self._outbox_bytes += size
        self._survey_bytes += size
        self._changes.add(DEVICE, "outbox_rows")
        self._changes.add(DEVICE, "outbox_bytes", size)
        self._admitted += size
        return True

    def finish(self) -> None:
        """Charge the survey for what was admitted."""
        self._connection.execute(
            "UPDATE survey SET bytes = bytes + ? WHERE id = ?", (self._admitted, self._survey_id)
        )

    def shed(self, wanted: int) -> int:
        """Give up the least valuable samples until `wanted` bytes are free; how many bytes are
        left in the outbox."""
        for row in list(_until(wanted, self._worst(float("inf")), frozenset()) or ()):
            self._evict(row)
        return self._outbox_bytes

    def _victims(self, size: int, priority: float) -> list[OutboxRow] | None:
        victims: list[OutboxRow] = []
        cap = self._caps.survey_max_bytes
        excess = self._survey_bytes + size - cap if cap else 0
        if excess > 0:
            unsent = "survey_id = ? AND started = 0 AND "
            chosen = _until(excess, self._worst(priority, unsent, (self._survey_id,)), frozenset())
            if size > cap or chosen is None:
                return None
            victims = chosen
        freed = sum(row.size for row in victims)
        excess = self._outbox_bytes - freed + size - self._caps.outbox_max_bytes
        if excess > 0:
            taken = frozenset(row.tile_id for row in victims)
            chosen = _until(excess, self._worst(priority), taken)
            if size > self._caps.outbox_max_bytes or chosen is None:
                return None
            victims += chosen
        return victims

    def _worst(
        self, below: float, among: str = "", values: tuple[object, ...] = ()
    ) -> Iterator[OutboxRow]:
        """Those set aside, then those of a key below; the lowest first, of equals the youngest."""
        order = "ORDER BY priority, tile_id DESC"
        return chain(
            outbox_rows(self._connection, f"{among}quarantined = 1 {order}", values),
            outbox_rows(
                self._connection,
                f"{among}quarantined = 0 AND priority < ? {order}",
                (*values, below),
            ),
        )

    def _evict(self, row: OutboxRow) -> None:
        frame, top, left, survey_id, survey = self._connection.execute(
            "SELECT frame.name, tile.row, tile.col, survey.id, survey.name FROM tile"
            " JOIN frame ON frame.id = tile.frame_id JOIN survey ON survey.id = frame.survey_id"
            " WHERE tile.id = ?",
            (row.tile_id,),
        ).fetchone()
        place = address(frame, top, left)
        forget_leader_of(self._connection, survey_id, place)
        if survey_id != self._survey_id:
            place = address_elsewhere(place, survey)
        self.evicted.append(SampleRef(row.sample_id.hex(), place))
        take_out(self._connection, row, "evicted", self._changes, self._now, detail="no room")
        self._outbox_bytes -= row.size
        if row.survey_id == self._survey_id and not row.started:
            self._survey_bytes -= row.size


def _until(
    wanted: int, rows: Iterable[OutboxRow], without: frozenset[int]
) -> list[OutboxRow] | None:
    """The first rows of at least `wanted` bytes together, None if there are not enough."""
    chosen: list[OutboxRow] = []
    for row in rows:
        if wanted <= 0:
            break
        if row.tile_id not in without:
            chosen.append(row)
            wanted -= row.size
    return chosen if wanted <= 0 else None
