"""A turn may be given captured replies that nobody objected to, as anchors."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "turn_replies",
        sa.Column("turn_id", serial, nullable=False),
        sa.Column("interaction", sa.String(length=200), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("fk_turn_replies_turn_id_turns")),
        sa.PrimaryKeyConstraint("turn_id", "interaction", name=op.f("pk_turn_replies")),
    )
    op.create_index(op.f("ix_turn_replies_interaction"), "turn_replies", ["interaction"])
