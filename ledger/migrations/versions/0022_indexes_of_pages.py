"""Indexes for pages: events of a status, events of a prompt group, an agent's newest captures."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_index(op.f("ix_events_status_seq"), "events", ["status", "seq"])
    op.create_index(op.f("ix_events_agent_prompt_group"), "events", ["agent", "prompt_group"])
    op.create_index(
        op.f("ix_interactions_agent_role_received_s"), "interactions", ["agent", "role", "received_s"]
    )
