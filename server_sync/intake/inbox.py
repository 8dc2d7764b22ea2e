"""What waits between link and worker: bounded by number and by bytes."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Final

from server_sync.store.quarantine import HEAD_BYTES
from sync_protocol import codec, topics
from sync_protocol import messages as m

_LIMITS: Final = {
    topics.Kind.OFFER: codec.MAX_BYTES[m.Offer],
    topics.Kind.CHUNK: codec.MAX_BYTES[m.Chunk],
    topics.Kind.STATUS: codec.MAX_BYTES[m.Status],
    topics.Kind.PRESENCE: codec.MAX_BYTES[m.Presence],
}


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message as it came, and what is needed to acknowledge it."""

    topic: str
    payload: bytes
    qos: int
    mid: int
    connection: int
    """Which connection it came on: message ids start anew on the next."""
    cut_from: int | None = None
    """Its true size in bytes, where it is larger than its kind may be: `payload` is the head."""


def bounded(topic: str, payload: bytes | bytearray) -> tuple[bytes, int | None]:
    """The payload, or the head of one that is larger than its kind may be, and its true size."""
    parsed = topics.parse(topic)
    limit = HEAD_BYTES if parsed is None else _LIMITS.get(parsed.kind, HEAD_BYTES)
    if len(payload) <= limit:
        return bytes(payload), None
    return bytes(payload[:HEAD_BYTES]), len(payload)


class Inbox(queue.Queue[Inbound]):
    """A queue that is full with `messages` messages, or with the one that reaches `max_bytes`."""

    def __init__(self, messages: int, max_bytes: int) -> None:
        super().__init__(messages)
        self._max_bytes = max_bytes
        self._bytes = 0

    # The four points where `queue.Queue` leaves its storage to subclasses, called with its lock.

    def _qsize(self) -> int:
        size: int = super()._qsize()
        return size if self._bytes < self._max_bytes else max(size, self.maxsize)

    def _put(self, item: Inbound) -> None:
        self._bytes += len(item.payload)
        super()._put(item)

    def _get(self) -> Inbound:
        item: Inbound = super()._get()
        self._bytes -= len(item.payload)
        return item
