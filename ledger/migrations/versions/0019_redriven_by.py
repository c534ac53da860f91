"""A dead letter that is sent again says by whom, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("redriven_by", sa.String(200), nullable=True))
    op.add_column("dead_letters", sa.Column("redriven_why", sa.Text(), nullable=True))
