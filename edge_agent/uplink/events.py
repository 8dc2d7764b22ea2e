"""What happens to the exchange, and what it asks its shell to do. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from sync_protocol.messages import Offer, Receipt, SampleDescription, Settlement, Want


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sample that waits in the outbox."""

    description: SampleDescription
    """Without its payload."""
    priority: float
    """Queue key: the highest goes first."""
    attempts: int
    """Starts of sending its pixels that came to nothing, as persisted."""
    missing: int | None = None
    """Bytes that base lacked when the latest attempt began, as persisted; None before any."""
    inline: bytes | None = None
    """The payload, where it is small enough to travel in the offer."""


# Events


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker took the connection and the subscriptions."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, or about to be closed in good order."""


@dataclass(frozen=True, slots=True)
class SamplesFetched:
    """The answer to `FetchSamples`, the most valuable first."""

    candidates: tuple[Candidate, ...]
    asked: int


@dataclass(frozen=True, slots=True)
class PayloadUnusable:
    """The pixels for one `PublishChunk` are not to be had: gone (no reason) or damaged."""

    sample_id: str
    token: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class WantReceived:
    want: Want


@dataclass(frozen=True, slots=True)
class ReceiptReceived:
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class PublishAcknowledged:
    """The broker has one of our publishes. It paces; it settles nothing."""

    token: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


Event: TypeAlias = (
    Connected
    | Disconnected
    | SamplesFetched
    | PayloadUnusable
    | WantReceived
    | ReceiptReceived
    | PublishAcknowledged
    | Tick
)


# Actions, to be carried out in order


@dataclass(frozen=True, slots=True)
class FetchSamples:
    """Read up to `limit` waiting samples, the most valuable first, without `excluding`."""

    limit: int
    excluding: frozenset[str]


@dataclass(frozen=True, slots=True)
class MarkAttempts:
    """Persist one more attempt for each, before anything that follows is carried out."""

    missing: dict[str, int]
    """Sample id -> bytes that base lacks as the attempt begins, to be persisted with it."""


@dataclass(frozen=True, slots=True)
class RefundAttempts:
    """Take one attempt of each back: it was not the sample's fault."""

    sample_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishOffer:
    token: int
    offer: Offer


@dataclass(frozen=True, slots=True)
class PublishChunk:
    """Send bytes `offset` up to `end` of a payload."""

    token: int
    description: SampleDescription
    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class Settle:
    """Base has committed: these may leave the outbox."""

    settlements: tuple[Settlement, ...]


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Set a sample aside, with the reason in words."""

    sample_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class DropLink:
    """Close the connection and open another: this one is dead."""

    reason: str


Action: TypeAlias = (
    FetchSamples
    | MarkAttempts
    | RefundAttempts
    | PublishOffer
    | PublishChunk
    | Settle
    | Quarantine
    | DropLink
)
