"""Agents on hold: none of their versions is promoted, or gets a larger share, until somebody resumes them."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from ledger.database import Database, now_s
from ledger.schema import holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Who put an agent on hold, when and why."""

    agent: str
    by: str
    reason: str
    held_s: float


def hold(database: Database, agent: str, *, by: str, reason: str) -> bool:
    """The agent is on hold afterwards. Returns whether it was not before."""
    with database.write() as connection:
        if hold_of(connection, agent) is not None:
            return False
        connection.execute(insert(holds).values(agent=agent, by=by, reason=reason, held_s=now_s(connection)))
        return True


def resume(database: Database, agent: str, *, by: str) -> bool:
    """The agent is not on hold afterwards. Returns whether it was before."""
    with database.write() as connection:
        resumed = connection.execute(
            update(holds)
            .where(holds.c.agent == agent, holds.c.resumed_s.is_(None))
            .values(resumed_s=now_s(connection), resumed_by=by)
        )
        return resumed.rowcount > 0


def hold_of(connection: Connection, agent: str) -> Hold | None:
    """The agent's hold; None where it is on none."""
    return all_holds(connection).get(agent)


def all_holds(connection: Connection) -> dict[str, Hold]:
    """Every hold that stands, by agent."""
    query = select(holds).where(holds.c.resumed_s.is_(None))
    return {
        row.agent: Hold(agent=row.agent, by=row.by, reason=row.reason, held_s=row.held_s)
        for row in connection.execute(query)
    }
