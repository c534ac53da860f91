"""Records of events that wait for their interaction, and indexes to look up retractions and amendments.

Events that wait since before have no record beside them: they go on waiting.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "waiting_records",
        sa.Column("topic_id", sa.String(length=40), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("topic_id", "partition", "offset", name=op.f("pk_waiting_records")),
    )
    op.add_column("events", sa.Column("retracts", sa.String(length=200), nullable=True))
    columns = (sa.column("kind", sa.String), sa.column("data", sa.JSON), sa.column("retracts", sa.String))
    events = sa.table("events", *columns)
    target = events.c.data["target"]["id"].as_string()
    op.execute(events.update().where(events.c.kind == "retraction").values(retracts=target))
    for name, indexed in (("retracts", ["retracts"]), ("amends", ["agent", "amends"])):
        there = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            op.f(f"ix_events_{'_'.join(indexed)}"),
            "events",
            indexed,
            unique=False,
            sqlite_where=there,
            postgresql_where=there,
        )
