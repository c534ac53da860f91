"""The tokens that a turn cost, when it was closed, and how many tokens an agent may cost in an hour.

Turns closed before cost nothing as far as anybody knows, and were closed with their pass.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("agents", sa.Column("tokens_per_hour_max", sa.BigInteger(), nullable=True))
    op.add_column("passes", sa.Column("virtual_time", sa.Float(), nullable=False, server_default="0"))
    op.add_column("turns", sa.Column("tokens", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("turns", sa.Column("closed_s", sa.Float(), nullable=True))
    op.execute(
        "UPDATE turns SET closed_s = (SELECT coalesce(passes.closed_s, passes.opened_s) FROM passes"
        " WHERE passes.id = turns.pass_id) WHERE state <> 'open'"
    )
    op.create_index(op.f("ix_turns_closed_s"), "turns", ["closed_s"], unique=False)
