"""Whether an event may change events of other people, its id as sent, and events that a person restored.

Events that were stored before may change no one else's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("events", sa.Column("acts", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("events", sa.Column("claimed_id", sa.String(length=200), nullable=True))
    op.add_column("events", sa.Column("restored", sa.JSON(none_as_null=True), nullable=True))
    there = sa.text("claimed_id IS NOT NULL")
    op.create_index(
        op.f("ix_events_source_claimed_id"),
        "events",
        ["source", "claimed_id"],
        unique=False,
        sqlite_where=there,
        postgresql_where=there,
    )
