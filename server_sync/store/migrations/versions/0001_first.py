"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    op.create_table(
        "devices",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=True),
        sa.Column("birth", sa.BigInteger(), nullable=True),
        sa.Column("agent_version", sa.String(length=128), nullable=True),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_devices")),
    )
    op.create_table(
        "pictures",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("sample_id", sa.String(length=32), nullable=False),
        sa.Column("survey", sa.String(length=128), nullable=False),
        sa.Column("stored_ms", sa.BigInteger(), nullable=False),
        sa.Column("phash", sa.String(length=16), nullable=True),
        sa.Column("band_0", sa.Integer(), nullable=True),
        sa.Column("band_1", sa.Integer(), nullable=True),
        sa.Column("band_2", sa.Integer(), nullable=True),
        sa.Column("band_3", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_pictures")),
    )
    op.create_index(op.f("ix_pictures_band_0"), "pictures", ["band_0"], unique=False)
    op.create_index(op.f("ix_pictures_band_1"), "pictures", ["band_1"], unique=False)
    op.create_index(op.f("ix_pictures_band_2"), "pictures", ["band_2"], unique=False)
    op.create_index(op.f("ix_pictures_band_3"), "pictures", ["band_3"], unique=False)
    op.create_table(
        "quarantine",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("topic", sa.String(length=256), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "samples",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("sample_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("survey", sa.String(length=128), nullable=False),
        sa.Column("frame", sa.Text(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("column", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("gsd_m", sa.Float(), nullable=True),
        sa.Column("longitude", sa.Float(), nullable=True),
        sa.Column("latitude", sa.Float(), nullable=True),
        sa.Column("sigma_m", sa.Float(), nullable=True),
        sa.Column("captured_at", sa.String(length=40), nullable=True),
        sa.Column("clock", sa.String(length=16), nullable=False),
        sa.Column("bundle", sa.String(length=128), nullable=False),
        sa.Column("bundle_sha256", sa.String(length=64), nullable=False),
        sa.Column("policy", sa.String(length=128), nullable=False),
        sa.Column("label", sa.String(length=128), nullable=True),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column("main_reason", sa.String(length=128), nullable=True),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("quality", sa.Float(), nullable=True),
        sa.Column("inclusion_probability", sa.Float(), nullable=True),
        sa.Column("payload_sha256", sa.String(length=64), nullable=False),
        sa.Column("payload_size", sa.BigInteger(), nullable=False),
        sa.Column("payload_type", sa.String(length=32), nullable=False),
        sa.Column("phash", sa.String(length=16), nullable=True),
        sa.Column("embedding", sa.LargeBinary(), nullable=True),
        sa.Column("embedding_scale", sa.Float(), nullable=True),
        sa.Column("probabilities", sa.JSON(), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("p_values", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("offered_ms", sa.BigInteger(), nullable=False),
        sa.Column("settled_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("device", "sample_id", name=op.f("pk_samples")),
    )
    op.create_index(op.f("ix_samples_label_state"), "samples", ["label", "state"], unique=False)
    op.create_index(op.f("ix_samples_payload_sha256"), "samples", ["payload_sha256"], unique=False)
    op.create_index(op.f("ix_samples_state_value"), "samples", ["state", "value"], unique=False)
    op.create_index(op.f("ix_samples_survey_state"), "samples", ["survey", "state"], unique=False)
    op.create_table(
        "device_status",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("status_ms", sa.BigInteger(), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("survey", sa.String(length=128), nullable=True),
        sa.Column("bundle", sa.String(length=128), nullable=True),
        sa.Column("policy", sa.String(length=128), nullable=True),
        sa.Column("counters", sa.JSON(), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device"], ["devices.device"], name=op.f("fk_device_status_device")
        ),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_device_status")),
    )
    op.create_table(
        "parts",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("sample_id", sa.String(length=32), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device", "sample_id"],
            ["samples.device", "samples.sample_id"],
            name=op.f("fk_parts_device_sample_id"),
        ),
        sa.PrimaryKeyConstraint("device", "sample_id", "offset", name=op.f("pk_parts")),
    )
    op.create_table(
        "sample_reasons",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("sample_id", sa.String(length=32), nullable=False),
        sa.Column("code", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["device", "sample_id"],
            ["samples.device", "samples.sample_id"],
            name=op.f("fk_sample_reasons_device_sample_id"),
        ),
        sa.PrimaryKeyConstraint("device", "sample_id", "code", name=op.f("pk_sample_reasons")),
    )
    op.create_index(op.f("ix_sample_reasons_code"), "sample_reasons", ["code"], unique=False)
