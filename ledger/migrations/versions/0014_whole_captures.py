"""Interactions are stored whole: the assistant message, the request's tools, the ids of the served prompt.

Interactions that were stored before have none of it, and say nothing about why.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("interactions", sa.Column("reply", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("interactions", sa.Column("request", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("interactions", sa.Column("restrictions", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("interactions", sa.Column("packed_prompt", sa.LargeBinary(), nullable=True))
    op.add_column("interactions", sa.Column("ids_left_out", sa.String(length=20), nullable=True))
