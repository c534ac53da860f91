"""A captured interaction says which pass was the newest when it was stored."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("interactions", sa.Column("after_pass", sa.BigInteger(), nullable=True))
