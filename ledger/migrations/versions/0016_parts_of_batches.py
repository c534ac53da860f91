"""A turn may be about a part of a refused batch: gate corrections that are not like it judge later turns."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("turns", sa.Column("judged_seq", sa.BigInteger(), nullable=True))
