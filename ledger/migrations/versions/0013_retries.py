"""A turn may be another try after a refusal, with what it does otherwise."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("turns", sa.Column("retry", sa.JSON(none_as_null=True), nullable=True))
