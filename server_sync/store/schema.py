"""The tables of the curation store, for SQLite and PostgreSQL alike.

`migrations/versions` builds the same tables; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Milliseconds = BigInteger
"""Since 1970, UTC, by base's own clock."""

# SQLite counts up only in a column declared INTEGER.
_Counted = BigInteger().with_variant(Integer(), "sqlite")

pictures = Table(
    "pictures",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("media_type", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("device", String(64), nullable=False),
    Column("sample_id", String(32), nullable=False),
    Column("survey", String(128), nullable=False),
    Column("stored_ms", Milliseconds, nullable=False),
    # The pHash in four bands of 16 bits: near hashes share a near band (see `pictures.alike`).
    Column("phash", String(16)),
    Column("band_0", Integer),
    Column("band_1", Integer),
    Column("band_2", Integer),
    Column("band_3", Integer),
    Index(None, "band_0"),
    Index(None, "band_1"),
    Index(None, "band_2"),
    Index(None, "band_3"),
)

samples = Table(
    "samples",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("sample_id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("boot", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("survey", String(128), nullable=False),
    Column("frame", Text, nullable=False),
    Column("row", BigInteger, nullable=False),
    Column("column", BigInteger, nullable=False),
    Column("width", BigInteger, nullable=False),
    Column("height", BigInteger, nullable=False),
    Column("gsd_m", Float),
    Column("longitude", Float),
    Column("latitude", Float),
    Column("sigma_m", Float),
    Column("captured_at", String(40)),
    Column("clock", String(16), nullable=False),
    Column("bundle", String(128), nullable=False),
    Column("bundle_sha256", String(64), nullable=False),
    Column("policy", String(128), nullable=False),
    Column("label", String(128)),
    Column("probability", Float),
    Column("main_reason", String(128)),
    Column("value", Float, nullable=False),
    Column("quality", Float),
    Column("inclusion_probability", Float),
    Column("payload_sha256", String(64), nullable=False),
    Column("payload_size", BigInteger, nullable=False),
    Column("payload_type", String(32), nullable=False),
    Column("phash", String(16)),
    Column("embedding", LargeBinary),
    Column("embedding_scale", Float),
    # Ordered pairs, because a JSON object keeps no order and the most probable class is first.
    Column("probabilities", JSON, nullable=False),
    Column("scores", JSON, nullable=False),
    Column("p_values", JSON, nullable=False),
    Column("findings", JSON, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("offered_ms", Milliseconds, nullable=False),
    Column("settled_ms", Milliseconds),
    Index(None, "state", "value"),
    Index(None, "survey", "state"),
    Index(None, "label", "state"),
    Index(None, "payload_sha256"),
)

sample_reasons = Table(
    "sample_reasons",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("sample_id", String(32), primary_key=True),
    Column("code", String(128), primary_key=True),
    ForeignKeyConstraint(["device", "sample_id"], ["samples.device", "samples.sample_id"]),
    Index(None, "code"),
)

parts = Table(
    "parts",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("sample_id", String(32), primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    ForeignKeyConstraint(["device", "sample_id"], ["samples.device", "samples.sample_id"]),
)

devices = Table(
    "devices",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("seen_ms", Milliseconds, nullable=False),
    Column("online", Boolean),
    Column("birth", BigInteger),
    Column("agent_version", String(128)),
)

device_status = Table(
    "device_status",
    metadata,
    Column("device", String(64), ForeignKey("devices.device"), primary_key=True),
    Column("status_ms", Milliseconds, nullable=False),
    Column("boot", BigInteger, nullable=False),
    Column("survey", String(128)),
    Column("bundle", String(128)),
    Column("policy", String(128)),
    Column("counters", JSON, nullable=False),
    Column("rules", JSON, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _Counted, primary_key=True, autoincrement=True),
    Column("at_ms", Milliseconds, nullable=False),
    Column("topic", String(256), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("error", Text, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
