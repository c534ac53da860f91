"""Canaries: the shares of traffic that versions had, agents on hold, and the settings about both."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("agents", sa.Column("canary_share", sa.Float(), nullable=True))
    op.add_column("agents", sa.Column("confirm", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "canary_steps",
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("through_seq", sa.BigInteger(), nullable=False),
        sa.Column("began_s", sa.Float(), nullable=False),
        sa.Column("ended_s", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["agent"], ["agents.name"], name=op.f("fk_canary_steps_agent")),
        sa.PrimaryKeyConstraint("agent", "number", "place", name=op.f("pk_canary_steps")),
    )
    op.create_index(op.f("ix_canary_steps_ended_s"), "canary_steps", ["ended_s"], unique=False)
    op.create_table(
        "holds",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("held_s", sa.Float(), nullable=False),
        sa.Column("resumed_s", sa.Float(), nullable=True),
        sa.Column("resumed_by", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["agent"], ["agents.name"], name=op.f("fk_holds_agent")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index(op.f("ix_holds_agent"), "holds", ["agent"], unique=False)
