"""How conversations began. What has a role keeps it; new roles follow from the ledger's key."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "openings",
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.Column("opening", sa.String(length=64), nullable=False),
        sa.Column("continues", sa.String(length=64), nullable=True),
        sa.Column("prompt_group", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("agent", "opening", name=op.f("pk_openings")),
    )
    op.create_index(op.f("ix_openings_agent_continues"), "openings", ["agent", "continues"], unique=False)
    # Of several roles the last in the alphabet is taken: what was trained on stays out of the gate.
    known = " UNION ".join(
        f"SELECT agent, prompt_group, role FROM {table}"
        " WHERE role IS NOT NULL AND prompt_group IS NOT NULL AND prompt_group <> ''"
        for table in ("events", "interactions")
    )
    op.execute(
        "INSERT INTO openings (agent, opening, continues, prompt_group, role)"
        " SELECT agent, prompt_group, NULL, prompt_group, max(role)"
        f" FROM ({known}) AS known GROUP BY agent, prompt_group"
    )
