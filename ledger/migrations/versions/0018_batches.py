"""An agent may be due with a number of untaught events of its own: the batch of an experiment."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("agents", sa.Column("events_min", sa.Integer(), nullable=True))
