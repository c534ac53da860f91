"""The outcome of an event in a turn is one word; its reason has a column of its own.

The column cut the reason short. The event's own status often still has the whole of it, and then it is taken
from there.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_OUTCOMES = "('trained', 'already_known', 'barren', 'not_used')"


def upgrade() -> None:
    op.add_column("turn_events", sa.Column("outcome_reason", sa.String(length=200), nullable=True))
    whole = (
        "SELECT trim(substr(events.status_reason, length('barren:') + 1)) FROM events"
        " WHERE events.seq = turn_events.event_seq"
        " AND substr(events.status_reason, 1, length(turn_events.outcome)) = turn_events.outcome"
    )
    op.execute(
        f"UPDATE turn_events SET outcome = 'barren', outcome_reason = coalesce(({whole}),"
        " trim(substr(outcome, length('barren:') + 1))) WHERE outcome LIKE 'barren:%'"
    )
    op.execute(
        "UPDATE turn_events SET outcome = 'not_used',"
        " outcome_reason = trim(substr(outcome, length('not used:') + 1)) WHERE outcome LIKE 'not used:%'"
    )
    op.execute(
        "UPDATE turn_events SET outcome = 'not_used', outcome_reason = outcome"
        f" WHERE outcome IS NOT NULL AND outcome NOT IN {_OUTCOMES}"
    )
    op.execute(
        "UPDATE events SET status_reason = trim(substr(status_reason, length('barren:') + 1))"
        " WHERE status = 'barren' AND status_reason LIKE 'barren:%'"
    )
    op.execute(
        "UPDATE events SET status_reason = NULL WHERE status = 'known' AND status_reason = 'already_known'"
    )
