"""The frozen values that go in and out of the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from edge_agent.records.settings import RecordsSettings
from sync_protocol.messages import SampleDescription

Delivery = Literal[
    "queued",
    "quarantined",
    "stored",
    "duplicate",
    "skipped",
    "rejected",
    "unsupported",
    "evicted",
    "dropped",
]


class FileKey(Protocol):
    """What tells one frame's file from another, without opening it."""

    @property
    def name(self) -> str:
        """Path below the watched folder."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def mtime_ns(self) -> int:
        """Time of the last change, nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class FrameKey:
    """A plain `FileKey`."""

    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Survey:
    """A survey as opened for judging: the context of every batch."""

    survey_id: int
    run_id: int
    name: str
    bundle: str
    """name@version"""
    bundle_sha256: bytes
    policy: str
    labels: tuple[str, ...]
    boot: int
    earlier_runs: int = 0
    """Runs of this survey by another bundle or policy; frames they finished stay finished."""


@dataclass(frozen=True, slots=True)
class FrameRow:
    """How far a frame has come."""

    frame_id: int
    tiles_done: int
    finished: bool
    """Nothing is left to do, be it because it failed."""
    failed: bool = False
    plan: str = ""
    """How it was cut into tiles; `tiles_done` counts tiles of this plan."""
    reason: str = ""
    """Of a failed frame: the short code."""


@dataclass(frozen=True, slots=True)
class FrameProgress:
    """How far a frame has come once the batch is committed."""

    frame_id: int
    tiles_done: int
    finished: bool


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits in bytes; `survey_max_bytes` and `ledger_max_bytes` 0 mean none."""

    outbox_max_bytes: int
    survey_max_bytes: int = 0
    ledger_max_bytes: int = 0

    @classmethod
    def of(cls, settings: RecordsSettings) -> Caps:
        """Those of the settings."""
        return cls(settings.outbox_max_bytes, settings.survey_max_bytes, settings.ledger_max_bytes)


@dataclass(frozen=True, slots=True)
class SampleRef:
    """A sample and the tile it shows, as `frame@row,column`."""

    sample_id: str
    address: str


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch."""

    recorded: int
    """Tiles new to the ledger; a tile judged twice is recorded once."""
    kept: tuple[SampleRef, ...]
    """Samples of this batch that now wait in the outbox."""
    evicted: tuple[SampleRef, ...]
    """Samples given up for want of room: of this batch, or older ones that were worth less."""
    rotated: int
    """Ledger rows forgotten to keep the ledger within its cap."""

    @property
    def evicted_addresses(self) -> list[str]:
        """Of the tiles given up: novelty forgets them."""
        return [sample.address for sample in self.evicted]


@dataclass(frozen=True, slots=True)
class QueuedSample:
    """A sample that waits in the outbox."""

    sample_id: str
    description: SampleDescription
    """Without its payload."""
    payload_size: int
    attempts: int
    priority: float
    missing: int | None = None
    """Bytes that base lacked as the latest attempt began, None where that is not known."""


@dataclass(frozen=True, slots=True)
class SettleResult:
    """What a receipt did."""

    removed: int
    """Samples that left the outbox."""
    late: int
    """Samples that were gone already (evicted, dropped): only the ledger's outcome changed."""
    repeated: int
    """Samples settled before; nothing changed."""
    unknown: int
    """Ids that the ledger does not know."""
    set_aside: int = 0
    """Samples that base refused: they stay, in quarantine."""


@dataclass(frozen=True, slots=True)
class OutboxState:
    """The outbox in numbers."""

    waiting: int
    """Samples that are still to be sent."""
    quarantined: int
    """Samples set aside until an operator retries or drops them."""
    bytes: int
    """Pixels of both."""
    tried: int
    """Waiting samples of at least one attempt."""
    oldest_queued_at: float | None
    """Seconds since 1970 by the device's clock."""
