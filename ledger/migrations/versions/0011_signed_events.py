"""Who signed an event, what it may do, and which level of trust an agent demands.

Events that were stored before are unsigned, and agents demand nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column(
        "events", sa.Column("trust", sa.String(length=10), nullable=False, server_default="unsigned")
    )
    op.add_column("events", sa.Column("signer", sa.String(length=200), nullable=True))
    op.add_column("events", sa.Column("key_id", sa.String(length=200), nullable=True))
    op.add_column("events", sa.Column("rights", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("agents", sa.Column("trust", sa.JSON(), nullable=False, server_default="{}"))
