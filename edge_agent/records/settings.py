"""Where the records are, and how large they may grow."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

MEBIBYTE = 1024 * 1024

Bytes = Annotated[int, Meta(ge=0, le=2**43)]
SomeBytes = Annotated[int, Meta(ge=1, le=2**43)]


class RecordsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `[records]` of `edge.toml`."""

    database: Annotated[str, Meta(min_length=1)] = "/var/lib/tilesift/edge.db"
    """The SQLite file that holds ledger and outbox."""
    outbox_max_bytes: SomeBytes = 512 * MEBIBYTE
    """Pixels that may wait to be sent; beyond, the least valuable sample per byte is given up."""
    survey_max_bytes: Bytes = 0
    """Pixels of one survey that may wait or be sent, all together; 0: no such cap."""
    ledger_max_bytes: SomeBytes = 256 * MEBIBYTE
    """Ledger size from which the oldest verdicts are forgotten, but for samples that wait."""
    database_max_bytes: SomeBytes = 1024 * MEBIBYTE
    """Hard stop for the file itself; at least outbox and ledger together."""

    def __post_init__(self) -> None:
        if self.database_max_bytes < self.outbox_max_bytes + self.ledger_max_bytes:
            raise ValueError(
                "database_max_bytes is below outbox_max_bytes and ledger_max_bytes together"
            )
