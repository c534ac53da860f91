"""Versions whose directories were pruned, and texts that were forgotten, with who asked for it.

What finds the events of a conversation in a long table: an interaction is kept while one of them may need it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("whom", sa.String(length=64), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("begun_s", sa.Float(), nullable=False),
        sa.Column("finished_s", sa.Float(), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    for table in ("events", "interactions", "dead_letters"):
        op.add_column(table, sa.Column("forgotten", sa.Integer(), nullable=True))
    op.add_column("versions", sa.Column("pruned_s", sa.Float(), nullable=True))
    there = sa.text("conversation IS NOT NULL")
    op.create_index(
        op.f("ix_events_agent_conversation"),
        "events",
        ["agent", "conversation"],
        unique=False,
        sqlite_where=there,
        postgresql_where=there,
    )
