"""Candidates of an agent may be judged by outcomes of live conversations instead of by corrections."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column(
        "agents", sa.Column("gate", sa.String(length=20), server_default="corrections", nullable=False)
    )
