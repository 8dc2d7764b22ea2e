"""The second loop: what waits in the outbox goes out, what base settled leaves it.

The decisions are `uplink.exchange`'s; here they are carried out, one thread, one turn after the
other: the network's work, base's words, then the actions that follow from them.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from edge_agent.records.database import Database, open_database
from edge_agent.records.errors import RecordsCorrupt, RecordsFull, RecordsUnavailable
from edge_agent.sync_actions import Carrier, SyncReport
from edge_agent.sync_outbox import Shelf, only_sync
from edge_agent.uplink import events as e
from edge_agent.uplink.backoff import Backoff
from edge_agent.uplink.exchange import Exchange
from edge_agent.uplink.flight import MAX_PUBLISHES
from edge_agent.uplink.link import Acknowledged, Arrived, Heard, Link, LinkError
from edge_agent.uplink.settings import UplinkSettings
from operations import sd_notify
from operations.broker import BrokerSettings
from sync_protocol.codec import ProtocolError, decode, encode
from sync_protocol.messages import Presence, Receipt, Want
from sync_protocol.topics import Kind

_log = logging.getLogger(__name__)

TURN_S = 0.2
"""Longest wait for the network in one turn, and so the delay until a stop is seen."""
_RECORDS_PAUSE_S = 15.0
_OPENING_S = 300.0
_CHECKED_BYTES_PER_S = 2e6  # checking, and rescuing what is damaged, from a poor memory card
_SETTLED_LINK_S = 10.0  # a connection that held so long, or on which base spoke, was a success


Turned: TypeAlias = Callable[[str, SyncReport], object]
"""Hears of a turn of the loop."""


@dataclass(frozen=True, slots=True)
class Drain:
    """End when nothing is left to send, or nothing has moved for a while."""

    patience_s: float
    """Give up after so many seconds in which no pixels came through and nothing was settled."""


def run_sync(
    path: Path,
    device: str,
    settings: UplinkSettings,
    broker: BrokerSettings,
    *,
    drain: Drain | None,
    stop: threading.Event,
    turned: Turned,
    rng: random.Random | None = None,
) -> SyncReport:
    """Work until `stop` is set, or, to `drain`, until nothing sendable is left.

    `turned` hears of every turn of the loop: how things stand in words, and what was done.

    Raises:
        OperatorError: the database or the TLS files cannot be used, or another sync is at work.
    """
    backoff = Backoff(
        settings.backoff_min_s,
        settings.backoff_max_s,
        random.Random() if rng is None else rng,  # noqa: S311 (jitter is no secret)
    )
    report = SyncReport(device)
    with only_sync(path):
        while True:
            with sd_notify.long_step(_opening_s(path)):
                database = open_database(path, create=drain is None)
            with database:
                turned("the outbox is open", report)
                loop = _Sync(database, report, settings, broker, drain, stop, turned)
                try:
                    loop.run(backoff)
                except RecordsCorrupt as error:
                    # Opening moves the damaged file aside and brings along what can be read.
                    _log.error("%s", error.summary)
                    continue
            return report


class _Sync:
    """One run: the exchange, and what carries its actions out."""

    def __init__(
        self,
        database: Database,
        report: SyncReport,
        settings: UplinkSettings,
        broker: BrokerSettings,
        drain: Drain | None,
        stop: threading.Event,
        turned: Turned,
    ) -> None:
        self.report = report
        self._settings = settings
        self._broker = broker
        self._drain = drain
        self._stop = stop
        self._turned = turned
        self._shelf = Shelf(database, settings.inline_max_bytes)
        self._carrier = Carrier(Exchange(settings), self._shelf, report)
        self._version = version("tilesift")
        self._status_at = float("-inf")

    def run(self, backoff: Backoff) -> None:
        """Connection after connection."""
        while not self._over():
            try:
                self._hold_a_connection(backoff)
            except LinkError as error:
                wait_s = backoff.failed()
                _log.warning("no link to the broker, next try in %.1f s: %s", wait_s, error)
                self._wait(wait_s)
            except (RecordsFull, RecordsUnavailable) as error:
                if self._drain is not None:
                    raise
                # What was half done stands as after a crash; the records know the rest.
                self._carrier = Carrier(Exchange(self._settings), self._shelf, self.report)
                _log.error("%s", error)
                self._wait(_RECORDS_PAUSE_S)
        self.report.left = self._shelf.waiting()

    def _over(self) -> bool:
        if self._stop.is_set():
            return True
        if self._drain is None:
            return False
        if self._carrier.in_hand == 0 and self._shelf.is_empty():
            return True
        return time.monotonic() - self._carrier.moved_at > self._drain.patience_s

    def _wait(self, wait_s: float) -> None:
        until = time.monotonic() + wait_s
        while not self._over() and (left := until - time.monotonic()) > 0.0:
            self._turned("waiting for the broker", self.report)
            self._stop.wait(min(left, TURN_S))

    # One connection

    def _hold_a_connection(self, backoff: Backoff) -> None:
        presence = Presence(
            online=True, birth=self._shelf.next_birth(), agent_version=self._version
        )
        link = Link(self._broker, self.report.device, presence, ack_limit=MAX_PUBLISHES)
        if not link.open(self._stop):
            return
        self.report.connections += 1
        _log.info("connected to the broker at %s:%d", self._broker.host, self._broker.port)
        self._carrier.link = link
        try:
            self._serve(link, backoff)
        finally:
            self._carrier.unlink()
            self.report.ignored += link.dropped
            link.close()

    def _serve(self, link: Link, backoff: Backoff) -> None:
        connected_at = time.monotonic()
        try:
            self._carrier.feed(e.Connected())
            while not self._over():
                heard = link.turn(TURN_S)
                for item in heard:
                    self._hear(item)
                self._carrier.feed(e.Tick())
                self._send_status(link)
                if _is_success(heard, time.monotonic() - connected_at):
                    backoff.succeeded()
                self._turned(f"{self._carrier.in_hand} samples under way", self.report)
        except LinkError:
            self._carrier.feed(e.Disconnected())
            raise
        self._carrier.feed(e.Disconnected())

    def _hear(self, item: Heard) -> None:
        match item:
            case Acknowledged(message_id):
                self._carrier.acknowledged(message_id)
            case Arrived(kind, data):
                try:
                    if kind is Kind.WANT:
                        self._carrier.feed(e.WantReceived(decode(data, Want)))
                    elif kind is Kind.RECEIPT:
                        self._carrier.feed(e.ReceiptReceived(decode(data, Receipt)))
                except ProtocolError as error:
                    self.report.ignored += 1
                    _log.warning("ignored a message that cannot be read: %s", error)

    def _send_status(self, link: Link) -> None:
        now = time.monotonic()
        if now - self._status_at < self._settings.status_interval_s:
            return
        self._status_at = now
        data = encode(self._shelf.status(self._version))
        link.publish(Kind.STATUS, data, qos=0)
        self.report.sent_bytes += len(data)


def _is_success(heard: list[Heard], lasted_s: float) -> bool:
    return lasted_s > _SETTLED_LINK_S or any(isinstance(item, Arrived) for item in heard)


def _opening_s(path: Path) -> float:
    """How long opening the outbox may take, by its size."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # none yet; what is wrong with it is for opening to say
    return _OPENING_S + size / _CHECKED_BYTES_PER_S
