"""Settings of the base: one file, `server.toml`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from operations.broker import BrokerSettings

MediaType = Literal["image/jpeg", "image/webp", "image/png"]


class StoreSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where samples live."""

    url: Annotated[str, Meta(min_length=1)] = "sqlite:////var/lib/tilesift/curation.db"
    """Database of descriptions, as an SQLAlchemy URL: SQLite, or PostgreSQL for many workers."""
    blobs: Annotated[str, Meta(min_length=1)] = "/var/lib/tilesift/blobs"
    """Folder of pictures, named by the SHA-256 of their bytes."""
    min_free_mb: Annotated[int, Meta(ge=0)] = 512
    """With less room than this (in 10^6 bytes) devices are told to wait."""


class IntakeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How messages are taken in and what is wanted."""

    client_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")] = "tilesift-base"
    """Names the session that the broker keeps; each worker needs its own."""
    share_group: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}\Z")] = ""
    """Workers with the same group share the messages of all devices; empty: a worker alone."""
    near_duplicate_bits: Annotated[int, Meta(ge=-1, le=10)] = 4
    """Pictures whose 64-bit pHashes differ in at most this many bits count as alike and are not
    asked for; 0 only equal hashes, -1 asks for all."""
    near_duplicate_scope: Literal["fleet", "survey"] = "fleet"
    """Where to look for a picture that is alike: everywhere, or in the sample's own survey."""
    accept: Annotated[tuple[MediaType, ...], Meta(min_length=1)] = (
        "image/jpeg",
        "image/webp",
        "image/png",
    )
    """Media types of pixels that this base takes."""
    max_pixels: Annotated[int, Meta(ge=1, le=150_000_000)] = 25_000_000
    """Width times height of the largest picture that is decoded."""
    damaged_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    """How often a sample's pixels may arrive damaged before it is rejected."""
    retry_after_s: Annotated[float, Meta(ge=1.0, le=86400.0)] = 300.0
    """How long a device waits when there is no room."""
    device_samples: Annotated[int, Meta(ge=1, le=1_000_000)] = 4096
    """So many samples of one device may be under way; further ones are told to wait."""
    device_mb: Annotated[int, Meta(ge=17, le=1_000_000)] = 256
    """And so much of their pixels, in 10^6 bytes."""
    twin_wait_s: Annotated[float, Meta(ge=0.0, le=86400.0)] = 600.0
    """So long a sample waits for another with the same bytes that was asked for before it."""
    forget_wanted_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    """Pixels asked for and not there after so many days are given up, with what came of them."""
    batch_messages: Annotated[int, Meta(ge=1, le=1000)] = 64
    """At most so many messages share one commit."""
    queue_messages: Annotated[int, Meta(ge=1, le=10_000)] = 256
    """At most so many messages wait in memory; beyond, the broker waits."""
    queue_mb: Annotated[int, Meta(ge=1, le=4096)] = 32
    """And at most so much of them, in 10^6 bytes."""
    quarantine_rows: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    """Messages that were not understood: how many are kept to look at."""
    quarantine_kb: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    """And how much of them, in 10^3 bytes."""


class WebSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The review pages. They know no passwords: keep them on loopback or behind a proxy."""

    enabled: bool = True
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    """0 takes a free one."""
    hosts: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(max_length=32)] = ()
    """Names by which a proxy or the network calls these pages, beside loopback and `host`."""
    page_size: Annotated[int, Meta(ge=1, le=500)] = 48
    """Samples on one page of the grid."""


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All of `server.toml`."""

    broker: BrokerSettings = msgspec.field(default_factory=BrokerSettings)
    store: StoreSettings = msgspec.field(default_factory=StoreSettings)
    intake: IntakeSettings = msgspec.field(default_factory=IntakeSettings)
    web: WebSettings = msgspec.field(default_factory=WebSettings)
