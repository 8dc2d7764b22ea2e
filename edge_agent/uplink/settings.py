"""How samples go out: what travels at once, how long to wait, when to give a sample up."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from sync_protocol.messages import CHUNK_MAX_DATA, CHUNK_MIN_DATA


class UplinkSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `[uplink]` of `edge.toml`."""

    device: Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?\Z")] = ""
    """Device id, the common name of its certificate where there is one; empty: the host name."""
    window: Annotated[int, Meta(ge=1, le=8)] = 2
    """Chunks' worth of bytes on their way at once, not yet acknowledged by the broker."""
    chunk_bytes: Annotated[int, Meta(ge=CHUNK_MIN_DATA, le=CHUNK_MAX_DATA)] = 32 * 1024
    """Size of a chunk to begin with; it follows the link's speed from 8 to 64 KiB."""
    inline_max_bytes: Annotated[int, Meta(ge=0, le=8 * 1024)] = 2048
    """Payloads up to this size travel inside the offer, sparing a round trip; 0: none do."""
    offer_timeout_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 15.0
    """How long base may take to answer before a sample is offered again."""
    ack_timeout_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 120.0
    """A connection on which the broker acknowledges nothing for so long is taken for dead."""
    backoff_min_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 1.0
    """Longest wait before the second try to connect; it doubles with every failure."""
    backoff_max_s: Annotated[float, Meta(gt=0.0, le=86400.0)] = 120.0
    """Longest wait between two tries to connect."""
    status_interval_s: Annotated[float, Meta(ge=1.0, le=86400.0)] = 60.0
    """Seconds between two status messages."""
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    """Times a sample's pixels are sent in vain before it goes to quarantine."""

    def __post_init__(self) -> None:
        if self.backoff_max_s < self.backoff_min_s:
            raise ValueError("backoff_max_s is below backoff_min_s")
