"""Bringing back a version that was refused or rolled back: a person's decision, which a rollback takes back.

The version is a candidate again that a person confirmed: replicas load and probe it, then it serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, select, update

from ledger.database import Database
from ledger.errors import FlipRefused
from ledger.events import Status
from ledger.schema import agents, events, turn_events, versions
from ledger.turn_states import TurnPart, in_part
from ledger.versions import canary
from ledger.versions.decisions import Decision, Verdict, decide, decisions_of, newest_seq, undecided
from ledger.versions.desired import Purpose, champion, want
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import Version, lineage_of, pruned_notice

_FOLLOWING = (Status.OPEN, Status.KNOWN, Status.BARREN, Status.HELD)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLeftBehind:
    """An event that taught the version and counts no more, although the version serves again."""

    uid: str
    status: Status


def reinstate(database: Database, version: Version, *, by: str, reason: str) -> list[EventLeftBehind]:
    """Let the version serve once replicas hold it. Returns the events of its line that do not follow.

    Raises `FlipRefused` if it has no final verdict, serves already, was made for another base or from a
    version that is not in the champion's line, has no files any more, or the agent has another candidate.
    """
    agent = version.agent
    with database.write() as connection:
        serving = champion(connection, agent)
        line = lineage_of(connection, agent, version.number)
        _refuse_unfit(connection, version, serving, line)
        canary.forget_steps(connection, agent, version.number)
        decide(
            connection,
            Decision(
                agent=agent,
                number=version.number,
                verdict=Verdict.REINSTATE,
                by=by,
                evidence=Evidence(reasons=(reason,)),
                through_seq=newest_seq(connection, agent),
            ),
        )
        want(connection, version, Purpose.CANARY)
        query = select(events.c.source, events.c.id, events.c.status).where(
            events.c.seq.in_(_taught(agent, line[: line.index(serving)])),
            events.c.status.not_in([status.value for status in _FOLLOWING]),
        )
        return [
            EventLeftBehind(uid=f"{row.source}#{row.id}", status=Status(row.status))
            for row in connection.execute(query.order_by(events.c.seq))
        ]


def is_reinstated(connection: Connection, version: Version) -> bool:
    """Whether a person is bringing the version back."""
    decided = decisions_of(connection, version.agent, version.number)
    return bool(decided) and decided[-1].verdict is Verdict.REINSTATE


def open_held(connection: Connection, agent: str, numbers: Sequence[int]) -> None:
    """The held events that these versions were taught are open again: the champion's line knows them."""
    connection.execute(
        update(events)
        .where(events.c.seq.in_(_taught(agent, numbers)), events.c.status == Status.HELD.value)
        .values(status=Status.OPEN.value, status_reason=f"v{max(numbers)} was brought back")
    )


def _refuse_unfit(connection: Connection, version: Version, serving: int, line: Sequence[int]) -> None:
    """Raises `FlipRefused` with the reason why the version cannot be brought back."""
    candidates = [candidate for candidate in undecided(connection) if candidate.agent == version.agent]
    if version in candidates:
        raise FlipRefused("it has no final verdict yet")
    if version.number in lineage_of(connection, version.agent, serving):
        raise FlipRefused(f"v{serving} serves, which is or comes from it")
    if serving not in line:
        raise FlipRefused(f"it comes from v{version.parent}, and v{serving} serves, which is not in its line")
    if candidates:
        raise FlipRefused(f"{candidates[0].name} has no verdict yet: refuse it, or wait for its verdict")
    if version.pruned_s is not None:
        raise FlipRefused(pruned_notice(version))
    base_hash = connection.scalar(select(agents.c.base_hash).where(agents.c.name == version.agent))
    if version.base_hash != base_hash:
        raise FlipRefused(
            f"it was made for base {version.base_hash[:12]}, the agent has {str(base_hash)[:12]}"
        )


def _taught(agent: str, numbers: Sequence[int]) -> Select[tuple[int]]:
    """The events (by `seq`) that these versions newly learned."""
    return (
        select(turn_events.c.event_seq)
        .join(versions, versions.c.turn_id == turn_events.c.turn_id)
        .where(versions.c.agent == agent, versions.c.number.in_(numbers), in_part(TurnPart.NEW))
    )
