"""What people decided about stored events, and what each decision changed, so that it can be undone.

Contested events that were settled before have their reason in `status_reason` only. Nothing was ever written
into the column that goes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "event_decisions",
        sa.Column("id", serial, autoincrement=True, nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("event_seq", serial, nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_s", sa.Float(), nullable=False),
        sa.Column("undone_by", serial, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_decisions")),
    )
    op.create_table(
        "event_changes",
        sa.Column("decision_id", serial, nullable=False),
        sa.Column("event_seq", serial, nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["decision_id"],
            ["event_decisions.id"],
            name=op.f("fk_event_changes_decision_id_event_decisions"),
        ),
        sa.PrimaryKeyConstraint("decision_id", "event_seq", name=op.f("pk_event_changes")),
    )
    op.create_index(op.f("ix_event_changes_event_seq"), "event_changes", ["event_seq"], unique=False)
    op.drop_column("events", "restored")
