"""Captured replies that nobody objected to: what an agent may be held to where nobody approves."""

from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    String,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
)

from ledger.database import now_s
from ledger.events import Interaction, Kind, Role, Status
from ledger.intake.withdrawn import GONE, was_reverted
from ledger.learning.event_queries import interaction_of_row
from ledger.schema import agents, events, interactions, versions
from ledger.versions.desired import taught_turns
from ledger.versions.lineage import BASE, lineage_of, version_name, versions_of

NEWEST_MAX = 1000
"""Replies that are looked at: a turn and a no-harm suite have room for a few hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StayingReplies:
    """How many replies of an agent are known that must stay as they are: approved, or left alone."""

    anchors: int  # of role train
    suite: int  # of role gate


def staying_replies(
    connection: Connection, *, settle_s: float, enough: int, agent: str | None = None
) -> dict[str, StayingReplies]:
    """Counts of the replies that a turn and a no-harm suite can show, by agent (of all, or of one).

    Each count ends at `enough`. One query counts them all: the database looks at no more rows of an agent
    than it takes to find `enough`.
    """
    approved = {
        role: _at_most(
            enough,
            events,
            events.c.agent == agents.c.name,
            events.c.kind == Kind.APPROVE.value,
            events.c.status == Status.OPEN.value,
            events.c.role == role.value,
            ~was_reverted(),
        )
        for role in (Role.TRAIN, Role.GATE)
    }
    lines = _names_in_line()
    of_line = interactions.c.version.in_(
        select(lines.c.version).where(lines.c.agent == agents.c.name).correlate(agents)
    )
    until_s = now_s(connection) - settle_s
    silent = {
        role: _at_most(
            enough,
            interactions,
            interactions.c.agent == agents.c.name,
            or_(interactions.c.version == version_name(BASE, ""), of_line),
            *_is_silent(role, until_s=until_s),
        )
        for role in (Role.TRAIN, Role.GATE)
    }
    known = [case((approved[role] >= enough, enough), else_=approved[role] + silent[role]) for role in silent]
    query = select(agents.c.name, *known)
    if agent is not None:
        query = query.where(agents.c.name == agent)
    return {
        name: StayingReplies(anchors=min(enough, int(anchors)), suite=min(enough, int(suite)))
        for name, anchors, suite in connection.execute(query)
    }


def _at_most(enough: int, table: FromClause, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    """How many rows fulfil the conditions, `enough` at most, for each row of the table of agents."""
    rows = select(literal(1).label("row")).select_from(table).where(*conditions).limit(enough)
    counted = rows.correlate(agents).subquery()
    return select(func.count()).select_from(counted).correlate(agents).scalar_subquery()


def _names_in_line() -> FromClause:
    """(agent, version) of each champion and its ancestors but the base, as gateways name versions."""
    line = taught_turns()
    same = (versions.c.agent == line.c.agent) & (versions.c.number == line.c.number)
    name = literal("v").concat(cast(versions.c.number, String)).concat("-")
    name = name.concat(func.substr(versions.c.hash, 1, 6))
    return select(versions.c.agent, name.label("version")).join(line, same).cte("names_in_line")


def silent_replies(
    connection: Connection,
    agent: str,
    *,
    champion: int,
    role: Role,
    settle_s: float,
    newest: int = NEWEST_MAX,
) -> list[Interaction]:
    """The `newest` complete replies of the champion and its ancestors that nobody objected to, oldest first.

    People had `settle_s` seconds to object. An objection is any event but an approval that names the reply,
    its conversation, or another reply of its conversation: what follows a wrong turn was said after it. A
    reply that was cut short, or whose text was redacted, is left out, and so is one of several choices:
    silence does not say which of them somebody read.
    """
    line = frozenset(lineage_of(connection, agent, champion))
    names = [version.name for version in versions_of(connection, agent) if version.number in line]
    query = (
        select(interactions)
        .where(
            interactions.c.agent == agent,
            interactions.c.version.in_([version_name(BASE, ""), *names]),
            *_is_silent(role, until_s=now_s(connection) - settle_s),
        )
        .order_by(interactions.c.received_s.desc(), interactions.c.id)
        .limit(newest)
    )
    return [interaction_of_row(row) for row in connection.execute(query)][::-1]


def _is_silent(role: Role, *, until_s: float) -> tuple[ColumnElement[bool], ...]:
    """Whether a captured reply of that role is complete, and nobody objected to it. All must hold."""
    objects = (
        events.c.agent == interactions.c.agent,
        events.c.kind.not_in([Kind.APPROVE.value, Kind.RETRACTION.value]),
        events.c.status.not_in(GONE),
    )
    # Several conditions instead of one, so that the database uses an index for each.
    to_reply = exists().where(*objects, events.c.interaction == interactions.c.id)
    to_conversation = exists().where(*objects, events.c.conversation == interactions.c.conversation)
    named = interactions.alias("named")
    to_another_turn = (
        select(1)
        .select_from(named.join(events, events.c.interaction == named.c.id))
        .where(*objects, named.c.agent == interactions.c.agent)
        .where(named.c.conversation == interactions.c.conversation)
        .correlate(interactions)
        .exists()
    )
    return (
        interactions.c.role == role.value,
        interactions.c.received_s <= until_s,
        interactions.c.finish_reason.in_(("stop", "tool_calls")),
        or_(interactions.c.completion != "", interactions.c.reply.is_not(None)),
        interactions.c.forgotten.is_(None),
        func.coalesce(cast(interactions.c.sampling["n"].as_string(), String), "1") == "1",
        ~to_reply,
        ~to_conversation,
        ~to_another_turn,
    )
