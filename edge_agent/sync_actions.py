"""Carrying out what the exchange says: on the outbox, and over the link while there is one."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from edge_agent.sync_outbox import Shelf
from edge_agent.uplink import events as e
from edge_agent.uplink.exchange import Exchange
from edge_agent.uplink.link import Link, LinkError
from sync_protocol.codec import encode
from sync_protocol.topics import Kind


@dataclass(slots=True)
class SyncReport:
    """What one run of the loop did."""

    device: str
    sent_bytes: int = 0
    """Message bytes handed to the link: offers, chunks and status; what was sent twice counts
    twice."""
    settled: dict[str, int] = field(default_factory=dict)
    """Outcome -> samples."""
    quarantined: int = 0
    """Samples set aside: sent in vain, or refused by base."""
    ignored: int = 0
    """Messages from base that could not be read, were out of date, or came too many at once."""
    connections: int = 0
    left: int = 0
    """Samples still waiting at the end; those in quarantine do not count."""


class Carrier:
    """The exchange, and the hands that do what it says."""

    def __init__(self, exchange: Exchange, shelf: Shelf, report: SyncReport) -> None:
        self._exchange = exchange
        self._shelf = shelf
        self._report = report
        self._tokens: dict[int, int] = {}  # paho's number -> the exchange's token
        self._chunk_tokens: set[int] = set()
        self.link: Link | None = None
        """The connection while it stands."""
        self.moved_at = time.monotonic()
        """When pixels last came through, or a sample last left the queue."""

    @property
    def in_hand(self) -> int:
        """Samples under way."""
        return self._exchange.in_hand

    def unlink(self) -> None:
        """The connection is over, and with it what was on its way."""
        self.link = None
        self._tokens.clear()
        self._chunk_tokens.clear()

    def acknowledged(self, message_id: int) -> None:
        """The broker has the message of this number. Raises as `feed`."""
        token = self._tokens.pop(message_id, None)
        if token is None:
            return
        if token in self._chunk_tokens:
            self._chunk_tokens.remove(token)
            self.moved_at = time.monotonic()
        self.feed(e.PublishAcknowledged(token))

    def feed(self, event: e.Event) -> None:
        """Tell the exchange, and do what it says.

        Raises:
            LinkError: the link broke; what concerns the outbox has been carried out all the same.
        """
        lost: LinkError | None = None
        actions = deque(self._exchange.handle(event, time.monotonic()))
        while actions:
            action = actions.popleft()
            try:
                follow_up = self._act(action, lost is not None)
            except LinkError as error:
                lost = error
                continue
            if follow_up is not None:
                actions.extend(self._exchange.handle(follow_up, time.monotonic()))
        if lost is not None:
            raise lost

    def _act(self, action: e.Action, lost: bool) -> e.Event | None:
        match action:
            case e.MarkAttempts(missing):
                self._shelf.mark(missing)
            case e.RefundAttempts(ids):
                self._shelf.refund(ids)
            case e.Settle(settlements):
                settled = self._shelf.settle(settlements)
                for outcome, count in settled.removed.items():
                    self._report.settled[outcome] = self._report.settled.get(outcome, 0) + count
                self._report.quarantined += settled.set_aside
                self.moved_at = time.monotonic()
            case e.Quarantine(sample_id, reason):
                self._shelf.quarantine(sample_id, reason)
                self._report.quarantined += 1
                self.moved_at = time.monotonic()
            case e.DropLink(reason):
                raise LinkError(reason)
            case _ if lost:
                pass
            case e.FetchSamples(limit, excluding):
                return e.SamplesFetched(self._shelf.candidates(limit, excluding), limit)
            case e.PublishOffer(token, offer):
                self._publish(Kind.OFFER, encode(offer), token)
                self._shelf.sent(sum(len(sample.payload or b"") for sample in offer.samples))
            case e.PublishChunk():
                return self._publish_chunk(action)
        return None

    def _publish_chunk(self, action: e.PublishChunk) -> e.Event | None:
        chunk = self._shelf.chunk(action.description, action.offset, action.end)
        if isinstance(chunk, str) or chunk is None:
            return e.PayloadUnusable(action.description.sample_id, action.token, chunk)
        self._publish(Kind.CHUNK, encode(chunk), action.token)
        self._chunk_tokens.add(action.token)
        self._shelf.sent(len(chunk.data))
        return None

    def _publish(self, kind: Kind, data: bytes, token: int) -> None:
        if self.link is None:
            raise LinkError("the link is closed")
        self._tokens[self.link.publish(kind, data)] = token
        self._report.sent_bytes += len(data)
