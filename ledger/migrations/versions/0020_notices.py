"""Notices: what webhooks tell people, once each. Dead letters that wait are counted by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "notices",
        sa.Column("id", serial, autoincrement=True, nullable=False),
        sa.Column("receiver", sa.String(length=40), nullable=False),
        sa.Column("fact", sa.String(length=300), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("noted_s", sa.Float(), nullable=False),
        sa.Column("message", sa.String(length=60), nullable=True),
        sa.Column("ended_s", sa.Float(), nullable=True),
        sa.Column("ending", sa.String(length=20), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("receiver", "fact", name=op.f("uq_notices_receiver_fact")),
    )
    op.create_index(op.f("ix_notices_receiver_ended_s"), "notices", ["receiver", "ended_s"], unique=False)
    op.create_index(op.f("ix_dead_letters_redriven_s"), "dead_letters", ["redriven_s"], unique=False)
