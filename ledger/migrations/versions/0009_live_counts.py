"""What gateways count of the versions that answer users."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "live_producers",
        sa.Column("producer", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("seen_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("producer", "agent", name=op.f("pk_live_producers")),
    )
    op.create_table(
        "live_conversations",
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.Column("canary", sa.String(length=40), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("since_s", sa.BigInteger(), nullable=False),
        sa.Column("conversations", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "agent", "canary", "share", "version", "since_s", name=op.f("pk_live_conversations")
        ),
    )
    op.create_index(op.f("ix_live_conversations_since_s"), "live_conversations", ["since_s"], unique=False)
    op.create_table(
        "live_signals",
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.Column("canary", sa.String(length=40), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("signal", sa.String(length=20), nullable=False),
        sa.Column("conversation", sa.String(length=32), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("seen_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint(
            "agent", "canary", "share", "signal", "conversation", name=op.f("pk_live_signals")
        ),
    )
    op.create_index(op.f("ix_live_signals_seen_s"), "live_signals", ["seen_s"], unique=False)
